"""Why a call has no answer, in gRPC's words, which TensorFlow Serving's REST API uses too."""

from enum import Enum

import structlog


class Code(Enum):
    """The part of gRPC's status codes that is answered here; the value is HTTP's."""

    INVALID_ARGUMENT = 400
    NOT_FOUND = 404
    RESOURCE_EXHAUSTED = 429
    INTERNAL = 500
    UNAVAILABLE = 503
    DEADLINE_EXCEEDED = 504


class PredictionError(Exception):
    """Ends a call with a code and a message for whoever sent it."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class UnknownSignatureError(PredictionError):
    """The model has no signature `name`: in REST's words; gRPC's Predict has others."""

    def __init__(self, name: str) -> None:
        super().__init__(
            Code.INVALID_ARGUMENT, f'Serving signature name: "{name}" not found in signature def'
        )
        self.name = name


def invalid(message: str) -> PredictionError:
    """Return the error of a request that cannot be answered, however often it is sent."""
    return PredictionError(Code.INVALID_ARGUMENT, message)


def failure(call: str, error: Exception) -> PredictionError:
    """Log what nobody expected of a call, and return what its sender is told of it."""
    structlog.get_logger(__name__).error("call_failed", call=call, exc_info=error)
    return PredictionError(Code.INTERNAL, "The server failed; its log says why.")
