"""Finds the model that a TensorFlow Serving client names, and calls it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from serving.live_model import LiveModel, ModelHolder
from serving.prediction.errors import Code, PredictionError, UnknownSignatureError, invalid
from serving.prediction.served_signature import Arrays, ServedSignature

LABEL = "stable"
"""The label of the version that serves; there is no other, since one version serves."""
TOKENS = 2**16


@dataclass(frozen=True, slots=True)
class ModelName:
    """What a client calls a model: by its name alone, with a version, or with a label."""

    name: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"Specific({self.name}, {self.version})"
        return f"Latest({self.name})"


def version_number(bundle_version: str) -> int:
    """Return the integer that stands for a bundle version: a newer bundle has a larger one.

    "20260102T030405Z-3f0f" is seconds since 1970 x 65,536 + 0x3f0f, less than 2^53, so that a
    reader of JSON that knows only doubles reads it exactly.
    """
    moment, _, token = bundle_version.partition("-")
    seconds = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    return int(seconds) * TOKENS + int(token, 16)


class Predictor:
    """Answers calls from the model that serves at that moment, under one name."""

    def __init__(self, holder: ModelHolder, model_name: str) -> None:
        self._holder = holder
        self.model_name = model_name

    def model(self, asked: ModelName) -> LiveModel:
        """Return the model that is asked for. Raises `PredictionError` where it does not serve."""
        model = self._serving(asked)
        if model is None:
            raise PredictionError(Code.NOT_FOUND, f"Servable not found for request: {asked}")
        return model

    def status(self, asked: ModelName) -> LiveModel:
        """As `model`, for a request for the status, whose error has another message."""
        model = self._serving(asked)
        if model is None:
            what = "any versions" if asked.version is None else f"version {asked.version}"
            raise PredictionError(Code.NOT_FOUND, f"Could not find {what} of model {asked.name}")
        return model

    def _serving(self, asked: ModelName) -> LiveModel | None:
        model = self._holder.current
        if asked.label not in (None, LABEL):
            raise invalid(f"Unrecognized servable version label: {asked.label}")
        number = version_number(model.bundle_version)
        is_asked = asked.name == self.model_name and asked.version in (None, number)
        return model if is_asked else None


def signature_of(model: LiveModel, name: str) -> ServedSignature:
    """Return a signature of the model. Raises `UnknownSignatureError`."""
    signature = model.signatures.get(name)
    if signature is None:
        raise UnknownSignatureError(name)
    return signature


def predict(
    signature: ServedSignature,
    inputs: Arrays,
    *,
    only: Sequence[str] = (),
    timeout: float | None = None,
) -> Arrays:
    """Return the outputs of a signature, or `only` some of them.

    Raises `PredictionError`, with DEADLINE_EXCEEDED where the call has to wait for others longer
    than `timeout` seconds.
    """
    for name in only:
        if name not in signature.outputs:
            raise invalid(f"output tensor alias not found in signature: {name}")
    if timeout is not None and timeout <= 0:
        raise PredictionError(Code.DEADLINE_EXCEEDED, "Deadline exceeded before the call began")
    try:
        outputs = signature.predict(inputs, timeout)
    except TimeoutError as error:
        raise PredictionError(Code.DEADLINE_EXCEEDED, f"Deadline exceeded: {error}") from error
    return {name: outputs[name] for name in only or outputs}
