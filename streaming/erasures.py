"""What an erasure reaches: everything of its user that was appended before it (ADR 0013).

The topics of a log have no order among each other, so an event may be read before an erasure that
it came after, and the other way round. Both carry their moment in the log (`LogRecord.moment`).
An event of a history is therefore kept with its moment, and an erasure leaves a mark.
"""

from bisect import bisect_left

from feature_repo.event_log import EventLog
from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.times import DAY_MILLISECONDS
from streaming.settings import StreamingSettings

Moments = tuple[int, ...]
"""When each event of a history was appended to the log; 0 for what was imported."""
FOR_EVER = 2**63 - 1
"""Further than any two moments are apart."""


def placed(
    before: UserHistory, moments: Moments, after: UserHistory, event: HistoryEvent, moment: int
) -> Moments:
    """Return the moments of `after`, which `append` made of `before` and `event`."""
    # A full history has let go of its oldest.
    kept = moments[len(before.events) + 1 - len(after.events) :]
    at = bisect_left(after.events, event)
    return (*kept[:at], moment, *kept[at:])


def seen_again(history: UserHistory, moments: Moments, event_id: str, moment: int) -> Moments:
    """Return the moments after a repetition of an event, whose latest moment counts.

    So the order of a repetition and an erasure does not matter. An event that is not in the
    history changes nothing.
    """
    return tuple(
        max(known, moment) if event.event_id == event_id else known
        for event, known in zip(history.events, moments, strict=True)
    )


def moments_among(history: UserHistory, *parts: tuple[UserHistory, Moments]) -> Moments:
    """Return the moments of a history whose events all come from `parts`; the last part counts."""
    known: dict[str, int] = {}
    for part, moments in parts:
        known |= zip((event.event_id for event in part.events), moments, strict=True)
    return tuple(known[event.event_id] for event in history.events)


def later(history: UserHistory, moments: Moments, erased: int) -> tuple[UserHistory, Moments]:
    """Return what an erasure of the moment `erased` leaves of a history."""
    left = [pair for pair in zip(history.events, moments, strict=True) if pair[1] > erased]
    events = tuple(event for event, _ in left)
    return UserHistory(history.user_id, events), tuple(moment for _, moment in left)


def keep_marks(log: EventLog, settings: StreamingSettings) -> int:
    """Return how far, in moments, an event must be past an erasure for its mark to be dropped.

    A mark is needed for as long as a record from before the erasure may still be read. On a broker,
    such a record leaves `events` when its retention ends; if it was refused at the very end, its
    dead letter may be replayed for as long as letters are retained. The embedded log keeps its dead
    letters for ever, and so the marks.
    """
    if log.topics_share_an_order:
        return FOR_EVER
    kafka = settings.kafka
    return int((kafka.events_retention_days + kafka.dead_letters_retention_days) * DAY_MILLISECONDS)
