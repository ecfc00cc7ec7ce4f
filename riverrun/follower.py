"""Who follows the embedded log: one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

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

    Raises `UserError` where another process is at it, or the URL is none.
    """
    file = settings.embedded_log
    # Where its folder is missing nobody can follow a log.
    if file is None or not file.parent.is_dir():
        yield
        return
    refusal = UserError(
        f"another process learns from {file}: `riverrun up` and `riverrun stream` follow an "
        "embedded log one at a time, and `riverrun rebuild` while none of them does. To answer "
        "more requests, start `riverrun serve` beside it."
    )
    with exclusive(file.with_name(f"{file.name}.lock"), refusal):
        yield
