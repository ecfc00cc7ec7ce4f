"""Lets one process at a time follow the embedded log."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from feature_repo.exclusive_lock import exclusive
from riverrun.errors import UserError
from riverrun.settings import Settings


@contextmanager
def only_follower(settings: Settings) -> Iterator[None]:
    """Hold the lock of the only process that learns from the embedded log, or rebuilds its state.

    Two processes would take every batch from each other, and each would show only half of what
    trends. With a Kafka no lock is needed: it shares its partitions out among workers, and a worker
    that answers requests reads from the online store what the others have counted. The operating
    system releases the lock when its process ends, however it ends.

    The log's folder is made where it is missing, since the very first start must hold the lock too:
    check before that the home is not a mistyped one.

    Raises `UserError` where another process holds the lock, the URL is invalid, or the lock's file
    cannot be made.
    """
    file = settings.embedded_log
    if file is None:
        yield
        return
    refusal = UserError(
        f"another process learns from {file}: `riverrun up` and `riverrun stream` follow an "
        "embedded log one at a time, and `riverrun rebuild` while none of them does. To answer "
        "more requests, start `riverrun serve` beside it."
    )
    with ExitStack() as stack:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(file.with_name(f"{file.name}.lock"), refusal))
        except OSError as error:
            raise UserError(f"event log {file}: its lock cannot be made: {error}.") from error
        yield
