"""Why a call has no answer: gRPC's codes, which TensorFlow Serving's REST API uses too."""

from enum import Enum

import structlog


class Code(Enum):
    """The gRPC status codes that are used here; the value is the HTTP status of each."""

    INVALID_ARGUMENT = 400
    NOT_FOUND = 404
    RESOURCE_EXHAUSTED = 429
    INTERNAL = 500
    DEADLINE_EXCEEDED = 504


class PredictionError(Exception):
    """Ends a call with a code and a message for whoever sent it."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class UnknownSignatureError(PredictionError):
    """The model has no signature `name`. The message is REST's; gRPC's Predict has another."""

    def __init__(self, name: str) -> None:
        super().__init__(
            Code.INVALID_ARGUMENT, f'Serving signature name: "{name}" not found in signature def'
        )
        self.name = name


def invalid(message: str) -> PredictionError:
    """Return the error of a request that cannot be answered, however often it is sent."""
    return PredictionError(Code.INVALID_ARGUMENT, message)


def failure(call: str, error: Exception) -> PredictionError:
    """Log an unexpected error of a call, and return the error that its sender is told."""
    structlog.get_logger(__name__).error("call_failed", call=call, exc_info=error)
    return PredictionError(Code.INTERNAL, "The server failed; its log says why.")
