"""Small sets of events: few users, few items, many ties in time."""

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import strategies as st

from feature_repo.schema import Item

START = datetime(2026, 1, 1, tzinfo=UTC)
ITEMS = [Item(item_id=f"i{number}", title=f"item {number}") for number in range(8)]
SCHEMA = {
    "event_id": pl.String,
    "user_id": pl.String,
    "item_id": pl.String,
    "event_type": pl.String,
    "timestamp": pl.Datetime("us", "UTC"),
}

# (user, item, hour); item 8 is in no catalogue.
EVENTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8), st.integers(0, 20)), max_size=60)


def frame(events: list[tuple[int, int, int]]) -> pl.DataFrame:
    """Return events (user, item, hour) as the splits read them; each user's are numbered."""
    users = [user for user, _, _ in events]
    rows = [
        {
            "event_id": f"e{users[:number].count(user):04}",
            "user_id": f"u{user}",
            "item_id": f"i{item}",
            "event_type": "view",
            "timestamp": START + timedelta(hours=hour),
        }
        for number, (user, item, hour) in enumerate(events)
    ]
    return pl.DataFrame(rows, schema=SCHEMA)
