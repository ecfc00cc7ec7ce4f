"""A history is the newest events of a set: neither order nor repetition tells."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.history import HistoryEvent, UserHistory, append, fold
from feature_repo.schema import Event

# Few moments, so that events of one moment are common.
EVENTS = st.lists(st.integers(0, 12), max_size=25).map(
    lambda moments: [
        HistoryEvent(moment, f"e{number % 10}-{number}", f"i{number}", "view", 0.0)
        for number, moment in enumerate(moments)
    ]
)
LENGTHS = st.integers(1, 8)
NOBODY = UserHistory("u")


@given(EVENTS, LENGTHS)
def test_a_history_is_the_newest_events_in_order(events: list[HistoryEvent], length: int) -> None:
    assert fold(NOBODY, events, length).events == tuple(sorted(events)[-length:])


@given(EVENTS, LENGTHS, st.data())
def test_order_does_not_matter(
    events: list[HistoryEvent], length: int, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(events))
    assert fold(NOBODY, shuffled, length) == fold(NOBODY, events, length)


@given(EVENTS, LENGTHS, st.data())
def test_repetition_does_not_matter(
    events: list[HistoryEvent], length: int, data: st.DataObject
) -> None:
    once = fold(NOBODY, events, length)
    repeated = data.draw(st.lists(st.sampled_from(events), max_size=20)) if events else []
    replayed = data.draw(st.permutations([*events, *repeated]))
    assert fold(NOBODY, replayed, length) == once
    # A replay of everything after the fact.
    assert fold(once, events, length) is once


@given(EVENTS, LENGTHS, st.integers(0, 25))
def test_a_history_continued_is_the_history_of_everything(
    events: list[HistoryEvent], length: int, cut: int
) -> None:
    begun = fold(NOBODY, events[:cut], length)
    assert fold(begun, events[cut:], length) == fold(NOBODY, events, length)


@given(EVENTS, LENGTHS)
def test_a_late_event_sorts_into_place_or_is_too_old(
    events: list[HistoryEvent], length: int
) -> None:
    history = fold(NOBODY, events, length)
    late = HistoryEvent(5, "late", "i", "view", 0.0)
    after = append(history, late, length)
    if after is history:
        assert len(history.events) == length
        assert late < history.events[0]
    else:
        assert late in after.events
        assert list(after.events) == sorted(after.events)
        assert len(after.events) <= length


@given(EVENTS, LENGTHS, st.integers(1, 20))
def test_of_a_history_that_was_kept_longer_the_newest_count(
    events: list[HistoryEvent], length: int, more: int
) -> None:
    history = fold(NOBODY, events, length + more)
    late = HistoryEvent(5, "late", "i", "view", 0.0)
    after = append(history, late, length)
    newest = tuple(sorted([*events, late])[-length:])
    if after is history:
        assert late not in newest
    else:
        assert after.events == newest
        assert late in newest


@pytest.mark.parametrize(("value", "kept"), [(None, 0.0), (0.0, 0.0), (2.5, 2.5)])
def test_a_history_keeps_of_an_event_what_it_says_and_a_missing_value_as_0(
    value: float | None, kept: float
) -> None:
    moment = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    event = Event(
        event_id="e", user_id="u", item_id="i", event_type="cart", timestamp=moment, value=value
    )
    at = 1_767_225_600_000_000  # 2026-01-01, UTC
    assert HistoryEvent.of(event) == HistoryEvent(at, "e", "i", "cart", kept)


@given(EVENTS, LENGTHS)
def test_an_event_that_changes_nothing_returns_the_same_object(
    events: list[HistoryEvent], length: int
) -> None:
    history = fold(NOBODY, events, length)
    for event in history.events:
        assert append(history, event, length) is history
