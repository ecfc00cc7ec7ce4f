"""What a call can end with besides its answer.

    ClientError
    ├── UnreachableError          no answer came: refused, cut off, broken or too late
    ├── UnexpectedAnswerError     an answer came that the API does not document
    └── ProblemError              the server said no, and why (RFC 9457)
        ├── InvalidRequestError   400, 413, 415, 422: `errors` names field and value
        ├── NotFoundError         404
        ├── UnavailableError      429, 502, 503, 504: the same call may succeed later; or, with
        │                         `wait`, the records are accepted, but not applied in time
        └── ServerFailedError     500, and any status not named here

`UnreachableError` and `UnavailableError` are raised after the last retry; a call whose records are
accepted is not retried.
"""

from collections.abc import Sequence

from serving.http.problems import FieldError, ProblemDocument


class ClientError(Exception):
    """A call that has no answer."""


class UnreachableError(ClientError):
    """No whole answer came; `__cause__` is httpx's error. Whether it took effect is unknown."""


class UnexpectedAnswerError(ClientError):
    """An answer that does not fit the API: an older server, or something else at this address."""


class ProblemError(ClientError):
    """A problem document: `status`, `title`, `detail`, and `errors` field by field."""

    def __init__(self, operation: str, problem: ProblemDocument) -> None:
        super().__init__(f"{operation}: {problem.status} {problem.title}: {problem.detail}")
        self.operation = operation
        self.type = problem.type
        self.status = problem.status
        self.title = problem.title
        self.detail = problem.detail
        self.errors: Sequence[FieldError] = tuple(problem.errors)


class InvalidRequestError(ProblemError):
    """The request cannot be answered, however often it is sent."""


class NotFoundError(ProblemError):
    """There is no such item, user or route."""


class UnavailableError(ProblemError):
    """The server cannot answer now, or has accepted the records and not applied them in time."""


class ServerFailedError(ProblemError):
    """The server failed; its log says why."""


def problem_error(operation: str, problem: ProblemDocument) -> ProblemError:
    """Return the error of the tree that stands for the problem's status."""
    kind = _BY_STATUS.get(problem.status, ServerFailedError)
    return kind(operation, problem)


UNAVAILABLE = frozenset({429, 502, 503, 504})

_BY_STATUS: dict[int, type[ProblemError]] = {
    **dict.fromkeys((400, 413, 415, 422), InvalidRequestError),
    404: NotFoundError,
    **dict.fromkeys(UNAVAILABLE, UnavailableError),
}
