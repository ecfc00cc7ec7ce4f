"""Training and streaming see one history: the point-in-time join equals the streaming fold."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.archive import Archive, events_frame
from feature_repo.history import HistoryEvent, UserHistory, fold
from feature_repo.offline_features import CUT_SCHEMA, OfflineFeatures, user_histories
from feature_repo.schema import Event

START = datetime(2026, 1, 1, tzinfo=UTC)
# Some moments are a microsecond apart, many are shared.
MOMENTS = st.integers(0, 40).map(
    lambda step: START + timedelta(hours=step // 3, microseconds=step % 3)
)
LENGTHS = st.integers(1, 6)


@st.composite
def _deliveries(draw: st.DrawFn) -> list[Event]:
    """Draw events of a few users in no order, some of them delivered more than once.

    An id is unique among the events of its user.
    """
    drawn = draw(st.lists(st.tuples(st.integers(0, 2), MOMENTS), max_size=30))
    users = [user for user, _ in drawn]
    events = [
        Event(
            event_id=f"e{draw(st.integers(0, 2))}-{users[:number].count(user)}",
            user_id=f"ü{user}",
            item_id=f"i{number % 7}",
            event_type="view" if number % 2 else "purchase",
            timestamp=moment,
            value=None if number % 3 else number / 7,
        )
        for number, (user, moment) in enumerate(drawn)
    ]
    repeated = draw(st.lists(st.sampled_from(events), max_size=10)) if events else []
    return draw(st.permutations([*events, *repeated]))


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> OfflineFeatures:
    return OfflineFeatures(tmp_path_factory.mktemp("features"))


def streamed(deliveries: Sequence[Event], user: str, at: datetime, length: int) -> UserHistory:
    """Fold what happened until `at`, in the order in which it was delivered."""
    until = [one for one in deliveries if one.user_id == user and one.timestamp <= at]
    return fold(UserHistory(user), map(HistoryEvent.of, until), length)


def cuts_of(deliveries: Sequence[Event], others: Sequence[datetime]) -> pl.DataFrame:
    """Return every moment of every user, and the moments `others`, for each user."""
    users = [*sorted({one.user_id for one in deliveries}), "nobody"]
    moments = sorted({one.timestamp for one in deliveries} | set(others))
    rows = [(user, moment) for user in users for moment in moments]
    return pl.DataFrame(rows, schema=CUT_SCHEMA, orient="row")


@settings(max_examples=25)
@given(_deliveries(), st.lists(MOMENTS, max_size=3), LENGTHS)
def test_the_joined_history_is_the_streamed_one_at_every_moment(
    features: OfflineFeatures, deliveries: list[Event], others: list[datetime], length: int
) -> None:
    cuts = cuts_of(deliveries, others)
    features.write_user_histories(events_frame(deliveries), cuts, length)
    joined = features.histories_at(cuts)
    assert joined.select("user_id", "timestamp").equals(cuts)
    for row in joined.iter_rows(named=True):
        expected = streamed(deliveries, row["user_id"], row["timestamp"], length).events
        assert row["timestamps"] == [event.timestamp for event in expected]
        assert row["event_ids"] == [event.event_id for event in expected]
        assert row["item_ids"] == [event.item_id for event in expected]
        assert row["event_types"] == [event.event_type for event in expected]


@settings(max_examples=15)
@given(_deliveries(), LENGTHS, st.data())
def test_between_two_written_histories_the_older_one_holds(
    features: OfflineFeatures, deliveries: list[Event], length: int, data: st.DataObject
) -> None:
    """Never a later one, however little later it is."""
    cuts = cuts_of(deliveries, [])
    if cuts.is_empty():
        return
    chosen = data.draw(st.lists(st.sampled_from(cuts.rows()), min_size=1, max_size=5))
    written = pl.DataFrame(chosen, schema=CUT_SCHEMA, orient="row")
    features.write_user_histories(events_frame(deliveries), written, length)
    for row in features.histories_at(cuts).iter_rows(named=True):
        until = [
            moment
            for user, moment in chosen
            if user == row["user_id"] and moment <= row["timestamp"]
        ]
        expected = streamed(deliveries, row["user_id"], max(until), length).events if until else ()
        assert row["event_ids"] == [event.event_id for event in expected]


@given(_deliveries(), LENGTHS)
def test_what_is_written_is_what_folding_gives(deliveries: list[Event], length: int) -> None:
    cuts = cuts_of(deliveries, [])
    rows = user_histories(events_frame(deliveries), cuts, length)
    found = {
        (row["user_id"], row["timestamp"]): tuple(
            HistoryEvent(*event)
            for event in zip(
                row["timestamps"],
                row["event_ids"],
                row["item_ids"],
                row["event_types"],
                row["values"],
                strict=True,
            )
        )
        for row in rows.iter_rows(named=True)
    }
    expected = {
        (user, moment): events
        for user, moment in cuts.iter_rows()
        if (events := streamed(deliveries, user, moment, length).events)
    }
    assert found == expected


@settings(max_examples=10)
@given(_deliveries(), LENGTHS, st.integers(1, 4))
def test_the_archive_gives_the_same_histories(
    tmp_path_factory: pytest.TempPathFactory, deliveries: list[Event], length: int, size: int
) -> None:
    archive = Archive(tmp_path_factory.mktemp("archive"))
    for start in range(0, len(deliveries), size):
        archive.events.write(f"s{start}", deliveries[start : start + size])
    cuts = cuts_of(deliveries, [])
    archived = user_histories(archive.events.scan().collect(), cuts, length)
    assert archived.equals(user_histories(events_frame(deliveries), cuts, length))


def test_a_heavy_user_is_joined_in_parts(
    features: OfflineFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_repo.offline_features.PAIRS_PER_JOIN", 50)
    events = [
        Event(
            event_id=f"e{number:03d}",
            user_id=f"u{number % 2}",
            item_id="i",
            event_type="view",
            timestamp=START + timedelta(minutes=number),
        )
        for number in range(60)
    ]
    cuts = cuts_of(events, [])
    features.write_user_histories(events_frame(events), cuts, 3)
    joined = features.histories_at(cuts)
    assert joined.height == cuts.height
    for row in joined.iter_rows(named=True):
        expected = streamed(events, row["user_id"], row["timestamp"], 3).events
        assert row["event_ids"] == [event.event_id for event in expected]


def test_histories_that_were_not_written_are_missed_by_name(tmp_path: Path) -> None:
    features = OfflineFeatures(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"user_history\.parquet"):
        features.histories_at(pl.DataFrame(schema=CUT_SCHEMA))
