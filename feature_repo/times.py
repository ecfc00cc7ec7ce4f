"""Moments as the system counts them: whole microseconds since 1970-01-01 UTC."""

from datetime import UTC, datetime, timedelta

SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
WEEK = 7 * DAY
"""In microseconds."""

DAY_MILLISECONDS = DAY // 1_000
"""A day in milliseconds, as a broker counts."""

LONGEST_DAYS = 36_500
"""A hundred years, the longest time to set: a moment so long ago or ahead can still be told."""

INSTANT = timedelta(microseconds=1)
"""The shortest time between two moments."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Return an aware datetime as whole microseconds since 1970-01-01 UTC, without rounding."""
    delta = moment - EPOCH
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds


def minute_of(moment: datetime) -> datetime:
    """Return the start of the minute of an aware datetime, in UTC."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def moment_of(timestamp: int) -> datetime:
    """Return the moment, in UTC, that is so many microseconds after 1970-01-01 UTC."""
    return EPOCH + timestamp * INSTANT
