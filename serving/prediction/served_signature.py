"""One signature of a SavedModel, called by many at once with arrays of NumPy."""

from collections.abc import Collection, Mapping, Sequence
from sys import maxsize
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from feature_repo.received import shortened
from serving.micro_batching import MicroBatcher
from serving.prediction.errors import invalid
from serving.settings import BatchingSettings

MERGED_LENGTH = 128
"""A call with a longer history runs alone: the others would be padded to its length."""

Arrays = Mapping[str, npt.NDArray[Any]]


class ServedSignature:
    """A function from named arrays to named arrays, whose axis 0 is the batch.

    inputs, outputs: TensorFlow's `TensorSpec` by name. Strings are arrays of `bytes` objects.
    Concurrent calls share one call of the model: other axes that are free, as the length of a
    history is, can be padded at the end without any effect (see `SIGNATURES`).

    max_rows: the most rows of a call. A row with x times `MERGED_LENGTH` events, x > 1, counts for
    x² rows, since attention takes as much.
    """

    def __init__(self, function: Any, batching: BatchingSettings, max_rows: int) -> None:
        self.inputs: Mapping[str, Any] = dict(function.structured_input_signature[1])
        self.outputs: Mapping[str, Any] = dict(function.structured_outputs)
        self._max_rows = max_rows
        self._function = function
        self._run: MicroBatcher[Arrays, Arrays] = MicroBatcher(
            self._run_together, batching, rows_of=self._weight
        )

    def warm_up(self) -> None:
        """Run once, so that the first request need not wait for what TensorFlow prepares."""
        self._run_together(
            [
                {
                    name: _blank(spec, [size or 1 for size in spec.shape])
                    for name, spec in self.inputs.items()
                }
            ]
        )

    def predict(self, inputs: Arrays, timeout: float | None = None) -> Arrays:
        """Return the outputs for `inputs`, of which there must be one for each name.

        Raises `PredictionError` for inputs that do not fit, and `TimeoutError` where other calls
        take longer than `timeout` seconds.
        """
        self._check(inputs)
        return self._run(inputs, timeout)

    def check_names(self, names: Collection[str]) -> None:
        """Raise `PredictionError` where these are not the names of the inputs."""
        if set(names) != self.inputs.keys():
            received = shortened(str(sorted(names)))
            raise invalid(f"inputs must be {sorted(self.inputs)}. Received: {received}.")

    def _check(self, inputs: Arrays) -> None:
        self.check_names(inputs)
        # By free axis: the input that came first, and its size, which the others must have.
        sizes: dict[int, tuple[str, int]] = {}
        for name, spec in self.inputs.items():
            array = inputs[name]
            if array.dtype != spec.dtype.as_numpy_dtype:
                received = tf.as_dtype(array.dtype).name
                raise invalid(f"`{name}` must be {spec.dtype.name}. Received: {received}.")
            expected, shape = spec.shape.as_list(), list(array.shape)
            fits = len(shape) == len(expected) and all(
                size in (None, received) for size, received in zip(expected, shape, strict=True)
            )
            if not fits:
                raise invalid(f"`{name}` must have shape {_shown(expected)}. Received: {shape}.")
            if not len(array):
                raise invalid(f"`{name}` must have at least one row. Received: {shape}.")
            for axis, size in enumerate(expected):
                if size is not None:
                    continue
                other, known = sizes.setdefault(axis, (name, shape[axis]))
                if shape[axis] != known:
                    raise invalid(
                        f"`{name}` must have the size of `{other}`, {known}, along axis {axis}. "
                        f"Received: {shape}."
                    )
        self._check_size(inputs)

    def _check_size(self, inputs: Arrays) -> None:
        # A few bytes can stand for many rows, and an answer may be larger than its request.
        rows, longest = _num_rows(inputs), self._longest(inputs)
        allowed = self._max_rows
        if longest > MERGED_LENGTH:
            allowed = int(allowed * (MERGED_LENGTH / longest) ** 2)
        if rows > allowed:
            length = f" of length {longest}" if longest > MERGED_LENGTH else ""
            raise invalid(f"a call must have at most {allowed} rows{length}. Received: {rows}.")

    def _weight(self, inputs: Arrays) -> int:
        """Return for how many rows a call counts in a batch; long histories are never merged."""
        return _num_rows(inputs) if self._longest(inputs) <= MERGED_LENGTH else maxsize

    def _longest(self, inputs: Arrays) -> int:
        """Return the largest size of the free axes besides axis 0."""
        free = (
            length
            for name, spec in self.inputs.items()
            for size, length in zip(spec.shape[1:], inputs[name].shape[1:], strict=True)
            if size is None
        )
        return max(free, default=0)

    def _run_together(self, calls: Sequence[Arrays]) -> list[Arrays]:
        merged = {
            name: tf.constant(_stacked([call[name] for call in calls], spec), spec.dtype)
            for name, spec in self.inputs.items()
        }
        try:
            results = {name: result.numpy() for name, result in self._function(**merged).items()}
        except tf.errors.InvalidArgumentError as error:
            raise invalid(f"the model refuses the inputs: {error.message}") from error
        ends = np.cumsum([_num_rows(call) for call in calls])[:-1]
        parts = {name: np.split(result, ends) for name, result in results.items()}
        return [{name: parts[name][place] for name in parts} for place in range(len(calls))]


def _num_rows(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))


def _stacked(arrays: Sequence[npt.NDArray[Any]], spec: Any) -> npt.NDArray[Any]:
    """Return the arrays one below the other, padded at the end to the largest of them."""
    if len(arrays) == 1:
        return arrays[0]
    widest = np.max([array.shape[1:] for array in arrays], axis=0).astype(int).tolist()
    stacked = _blank(spec, [sum(map(len, arrays)), *widest])
    start = 0
    for array in arrays:
        end = start + len(array)
        stacked[(slice(start, end), *(slice(size) for size in array.shape[1:]))] = array
        start = end
    return stacked


def _blank(spec: Any, shape: Sequence[int]) -> npt.NDArray[Any]:
    empty = b"" if spec.dtype == tf.string else 0
    return np.full(shape, empty, dtype=spec.dtype.as_numpy_dtype)


def _shown(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
