"""Errors that the command line shows as one line, and the exit codes that it ends with.

UserError         2, something that a person can correct
RunFailedError    1, something that may pass: run it again
"""

import socket
from errno import EACCES, EEXIST, EISDIR, ENOTDIR, EPERM, EROFS

from feature_repo.full_disk import FULL_REASONS

NOT_TO_BE_USED = {EACCES, EPERM, EROFS, EEXIST, ENOTDIR, EISDIR}
"""`OSError` numbers that a person can correct: a file or folder that cannot be used."""


class UserError(Exception):
    """A bad command line, setting or file. Shown as one line; the process exits with code 2."""


class RunFailedError(Exception):
    """A run that failed though its input may be right, for example on a GPU without memory.

    Shown as one line; the process exits with code 1.
    """


def kind_of(error: OSError) -> type[UserError] | type[RunFailedError]:
    """Return what to end a run with where a file has raised `error`."""
    return UserError if error.errno in NOT_TO_BE_USED else RunFailedError


def tells_of_a_full_disk(error: Exception) -> bool:
    """Return whether a library that has errors of its own for files has met a full disk."""
    return any(reason in str(error) for reason in FULL_REASONS)


def failed_by(error: Exception) -> UserError | RunFailedError:
    """Return what to end with where a log, a state or a store has raised `error`.

    That a server does not answer may pass. What it refuses, as a password, is to be put right.
    """
    # Most commands need neither.
    from kafka.errors import KafkaTimeoutError
    from redis import exceptions as redis

    away = ConnectionError | TimeoutError | socket.gaierror | redis.TimeoutError
    # One that takes no writes was the master a moment ago, or is about to be.
    away |= redis.ConnectionError | redis.BusyLoadingError | redis.ReadOnlyError
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, redis.AuthenticationError | redis.AuthorizationError):
            break
        # One that has a cause tells of a broker that has hung up.
        timed_out = isinstance(cause, KafkaTimeoutError) and cause.__cause__ is None
        if timed_out or isinstance(cause, away):
            return RunFailedError(str(error))
        cause = cause.__cause__
    return UserError(str(error))
