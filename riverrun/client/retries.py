"""When a call is sent again, and after which pause. Pure: time and chance are arguments."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class Retries:
    """Exponential backoff with full jitter, as AWS's architecture blog compares them.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    attempts: how often a call is sent at most; 1 never sends it again.
    first_seconds: the pause after the first attempt is drawn from 0 to this, doubled each time.
    longest_seconds: no pause is longer; where the server asks for more, the call ends instead.
    """

    attempts: int = 4
    first_seconds: float = 0.1
    longest_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"`attempts` must be at least 1. Received: {self.attempts}.")
        for name in ("first_seconds", "longest_seconds"):
            seconds = getattr(self, name)
            if not 0 <= seconds < float("inf"):
                raise ValueError(f"`{name}` must be at least 0 and finite. Received: {seconds}.")

    def pause(self, attempt: int, drawn: float, asked: float | None = None) -> float | None:
        """Return the seconds to wait after `attempt` = 1, 2, ... failed; None gives up.

        drawn: a random number in [0, 1). asked: the seconds that the server asked for.
        """
        if attempt >= self.attempts:
            return None
        if asked is not None:
            return asked if asked <= self.longest_seconds else None
        # Bounded, as no float holds a much larger power; 2**60 is longer than any pause anyway.
        grown = self.first_seconds * 2 ** min(attempt - 1, 60)
        return float(drawn * min(self.longest_seconds, grown))


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, or None where none can be read."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # the latter where a number is beyond any date
        return None
    if moment.tzinfo is None:  # "-0000" means UTC of unknown origin.
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
