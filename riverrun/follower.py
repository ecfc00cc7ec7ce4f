"""Who follows the embedded log: one process at a time."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from feature_repo.exclusive_lock import exclusive
from riverrun.errors import UserError
from riverrun.settings import Settings


@contextmanager
def only_follower(settings: Settings) -> Iterator[None]:
    """Be the process that learns from the embedded log, or that makes its state again.

    Two would take every batch from each other, and each would show only half of what trends. A
    Kafka shares its partitions out, and who answers requests beside others there reads from the
    online store what they have counted: nobody is kept away. The system lets go of the lock
    when its process ends, however it ends.

    The log's folder is made where it is missing, since the first start is to hold the lock as well:
    see before that the home is not a mistyped one.

    Raises `UserError` where another process is at it, the URL is none, or the lock's file cannot be
    made.
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
