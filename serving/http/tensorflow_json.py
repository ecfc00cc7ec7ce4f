"""TensorFlow Serving's JSON of tensors: arrays from a request, a body from arrays. Pure.

https://www.tensorflow.org/tfx/serving/api_rest

A value is a scalar or nested lists of equal lengths; bytes are `{"b64": "..."}`. Row format lists
`instances`, each a value or an object with a value for every input; column format has `inputs`, a
value or an object with the whole array of every input. The name of a single input may be left
out. NaN and Infinity are read as numbers; in an answer they are null. Bytes in an answer are
text, or `{"b64": "..."}` where the name of the output ends in `_bytes`.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from feature_repo.received import described
from serving.prediction.errors import invalid
from serving.prediction.served_signature import Arrays
from serving.signatures import RECOMMEND

MAX_RANK = 8


@dataclass(frozen=True, slots=True, eq=False)
class PredictBody:
    """A request whose tensors are still JSON: `arrays` needs the signature's dtypes.

    value: that of `instances` if `by_row`, else that of `inputs`.
    """

    signature_name: str
    by_row: bool
    value: Any

    def arrays(self, inputs: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """Return an array for each of `inputs`, which has TensorFlow's `TensorSpec` by name.

        Raises `PredictionError` where the values do not fit the specs.
        """
        columns = self._columns(inputs)
        if columns.keys() != inputs.keys():
            raise invalid(
                f"the request must have the inputs {sorted(inputs)}. Received: {sorted(columns)}."
            )
        return {name: _array(name, columns[name], spec.dtype) for name, spec in inputs.items()}

    def _columns(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.by_row:
            if _is_named(self.value):
                columns: Mapping[str, Any] = self.value
                return columns
            return {_only(inputs, "inputs"): self.value}
        if not isinstance(self.value, list) or not self.value:
            raise invalid("`instances` must be a list that is not empty.")
        if not _is_named(self.value[0]):
            return {_only(inputs, "instances"): self.value}
        names = self.value[0].keys()
        for place, instance in enumerate(self.value):
            if not _is_named(instance) or instance.keys() != names:
                raise invalid(
                    f"`instances[{place}]` must be an object with the keys {sorted(names)}, as "
                    f"the first one is. Received: {described(instance)}."
                )
        return {name: [instance[name] for instance in self.value] for name in names}


def read_body(body: bytes) -> PredictBody:
    """Return what a request asks. Raises `PredictionError` where the body is no such request."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise invalid(f"the request must be a JSON object. Received: {described(document)}.")
    signature_name = document.get("signature_name", RECOMMEND)
    if not isinstance(signature_name, str):
        raise invalid(f"`signature_name` must be a string. Received: {described(signature_name)}.")
    formats = [name for name in ("instances", "inputs") if name in document]
    if len(formats) != 1:
        raise invalid(f"the request must have either `instances` or `inputs`. Received: {formats}.")
    return PredictBody(signature_name or RECOMMEND, formats == ["instances"], document[formats[0]])


def write_body(outputs: Arrays, *, by_row: bool) -> bytes:
    """Return the answer with `outputs`, in the format of the request."""
    values = {name: _written(name, array) for name, array in outputs.items()}
    if not by_row:
        (first, *others) = values.values()
        return _dumped({"outputs": values if others else first})
    rows: Sequence[Any] = [
        dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)
    ]
    if len(values) == 1:
        (rows,) = values.values()
    return _dumped({"predictions": rows})


def error_body(message: str) -> bytes:
    """Return the body of an answer that is an error."""
    return _dumped({"error": message.encode("utf-8", "replace").decode()})


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: dict[str, Any]) -> bool:
    return value.keys() == {"b64"} and isinstance(value["b64"], str)


def _only(inputs: Mapping[str, Any], key: str) -> str:
    if len(inputs) != 1:
        raise invalid(
            f"`{key}` must name the inputs, since the signature has several: {sorted(inputs)}."
        )
    return next(iter(inputs))


def _array(name: str, value: Any, dtype: Any) -> npt.NDArray[Any]:
    shape = _shape(name, value)
    scalars: list[Any] = []
    _flatten(name, value, shape, _READERS[dtype.name], scalars)
    # An array of objects is filled, not built from a list: NumPy would take bytes apart.
    array = np.empty(len(scalars), dtype=dtype.as_numpy_dtype)
    array[:] = scalars
    return array.reshape(shape)


def _shape(name: str, value: Any) -> list[int]:
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        if len(shape) > MAX_RANK:
            raise invalid(f"`{name}` must be nested at most {MAX_RANK} deep.")
        if not value:
            break
        value = value[0]
    return shape


def _flatten(
    name: str,
    value: Any,
    shape: Sequence[int],
    read: Callable[[Any], Any],
    scalars: list[Any],
) -> None:
    if not shape:
        try:
            scalars.append(read(value))
        except ValueError as error:
            raise invalid(f"`{name}` {error} Received: {described(value)}.") from None
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        raise invalid(
            f"`{name}` must have lists of equal lengths: {shape[0]} here. "
            f"Received: {described(value)}."
        )
    for each in value:
        _flatten(name, each, shape[1:], read, scalars)


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be an integer in {low}..{high}.")
        return value

    return read


def _decimal(largest_integer: int, largest: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if type(value) is int:
            fits = abs(value) <= largest_integer
        else:
            # What is not finite has no precision to lose.
            fits = type(value) is float and (abs(value) <= largest or not np.isfinite(value))
        if not fits:
            raise ValueError("must be a number that the dtype can hold.")
        return float(value)

    return read


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("must be true or false.")
    return value


def _string(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise ValueError("must be Unicode text.") from None
    if isinstance(value, dict) and _is_base64(value):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except binascii.Error:
            raise ValueError("must be base64.") from None
    raise ValueError('must be a string, or {"b64": "..."}.')


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "string": _string,
    "bool": _boolean,
    "int32": _integer(-(2**31), 2**31 - 1),
    "int64": _integer(-(2**63), 2**63 - 1),
    "float32": _decimal(2**24 - 1, float(np.finfo(np.float32).max)),
    "float64": _decimal(2**53 - 1, float(np.finfo(np.float64).max)),
}


def _written(name: str, array: npt.NDArray[Any]) -> Any:
    if array.dtype != object:
        return np.ascontiguousarray(array)
    if name.endswith("_bytes"):
        return _mapped(array.tolist(), lambda value: {"b64": base64.b64encode(value).decode()})
    return _mapped(array.tolist(), lambda value: value.decode("utf-8", "replace"))


def _mapped(value: Any, write: Callable[[bytes], Any]) -> Any:
    return [_mapped(each, write) for each in value] if isinstance(value, list) else write(value)


def _dumped(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
