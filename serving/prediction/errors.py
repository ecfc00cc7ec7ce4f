"""Why a call has no answer, in gRPC's words, which TensorFlow Serving's REST API uses too."""

from enum import Enum


class Code(Enum):
    """The part of gRPC's status codes that is answered here; the value is HTTP's."""

    INVALID_ARGUMENT = 400
    NOT_FOUND = 404
    RESOURCE_EXHAUSTED = 429
    INTERNAL = 500
    UNIMPLEMENTED = 501
    DEADLINE_EXCEEDED = 504


class PredictionError(Exception):
    """Ends a call with a code and a message for whoever sent it."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> PredictionError:
    """Return the error of a request that cannot be answered, however often it is sent."""
    return PredictionError(Code.INVALID_ARGUMENT, message)
