"""Splits look at nothing they must not see."""

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.few_events import EVENTS, ITEMS, START, frame
from trainer.interactions import Interactions
from trainer.tasks import (
    EvaluationTask,
    everyone_split,
    leave_one_out_split,
    returning_users,
    temporal_split,
)


@given(EVENTS, st.integers(0, 20))
def test_nobody_is_asked_about_who_does_not_return(
    events: list[tuple[int, int, int]], cut: int
) -> None:
    temporal = temporal_split(frame(events), ITEMS, START + timedelta(hours=cut))
    for split in (temporal, leave_one_out_split(frame(events), ITEMS)):
        returning = {split.past.user_ids[user] for user in split.returning}
        assert returning == set(split.past.user_ids) & set(split.future["user_id"])
        for task in split.tasks:
            assert {split.histories.user_ids[user] for user in task.users} <= set(
                split.future["user_id"]
            )


def asked(task: EvaluationTask) -> dict[str, tuple[set[str], set[str]]]:
    """Return per user the ids of the relevant and of the excluded items."""
    ids = [item.item_id for item in task.histories.items]
    return {
        task.histories.user_ids[user]: ({ids[i] for i in relevant}, {ids[i] for i in excluded})
        for user, relevant, excluded in zip(task.users, task.relevant, task.excluded, strict=True)
    }


@given(EVENTS, st.integers(0, 20), st.none() | st.integers(0, 20))
def test_a_temporal_split_asks_known_users_about_known_items(
    events: list[tuple[int, int, int]], cut: int, length: int | None
) -> None:
    end = None if length is None else cut + length
    moment = START + timedelta(hours=cut)
    split = temporal_split(
        frame(events), ITEMS, moment, None if end is None else START + timedelta(hours=end)
    )
    known = [(f"u{user}", f"i{item}") for user, item, hour in events if hour < cut and item < 8]
    users, items = {user for user, _ in known}, {item for _, item in known}
    assert split.histories is split.past
    assert (split.past.timestamp < moment.timestamp() * 1e6).all()
    assert {item.item_id for item in split.past.items} == items
    later: dict[str, set[str]] = {}
    for user, item, hour in events:
        if hour >= cut and (end is None or hour < end) and f"u{user}" in users:
            later.setdefault(f"u{user}", set()).add(f"i{item}")
    every = {user: wanted & items for user, wanted in later.items() if wanted & items}
    seen = {user: {i for u, i in known if u == user} for user in users}
    novel, all_ = split.tasks
    assert (novel.name, all_.name) == ("novel", "all")
    assert asked(all_) == {user: (wanted, set()) for user, wanted in every.items()}
    assert asked(novel) == {
        user: (wanted - seen[user], seen[user])
        for user, wanted in every.items()
        if wanted - seen[user]
    }


@given(EVENTS, st.integers(0, 20))
def test_who_returns_is_told_without_the_split(
    events: list[tuple[int, int, int]], cut: int
) -> None:
    moment = START + timedelta(hours=cut)
    every = Interactions.from_frame(frame(events), ITEMS)
    returning = [every.user_ids[user] for user in returning_users(every, moment)]
    assert returning == list(asked(temporal_split(frame(events), ITEMS, moment).tasks[-1]))


@given(EVENTS, st.integers(0, 20), st.none() | st.integers(0, 20))
def test_everyone_is_asked_about_all_that_is_sold(
    events: list[tuple[int, int, int]], cut: int, length: int | None
) -> None:
    end = 99 if length is None else cut + length
    moment = START + timedelta(hours=cut)
    split = everyone_split(
        frame(events), ITEMS, moment, None if length is None else START + timedelta(hours=end)
    )
    sold = [(f"u{u}", f"i{i}", hour) for u, i, hour in events if hour < end and i < 8]
    (task,) = split.tasks
    later: dict[str, set[str]] = {}
    for user, item, hour in sold:
        if hour >= cut:
            later.setdefault(user, set()).add(item)
    assert task.name == "everyone"
    assert asked(task) == {user: (wanted, set()) for user, wanted in later.items()}
    assert {item.item_id for item in split.past.items} == {item for _, item, _ in sold}
    assert not split.asks_for_new_alone
    # Nothing but the past is known of anybody.
    assert (split.histories.timestamp < moment.timestamp() * 1e6).all()
    known = {user: items for user, items in items_by_user(split.histories).items() if items}
    assert known == items_by_user(split.past)


@given(EVENTS, st.sampled_from([1, 2]))
def test_leave_one_out_asks_for_one_event_after_a_history(
    events: list[tuple[int, int, int]], held_out: int
) -> None:
    split = leave_one_out_split(frame(events), ITEMS, held_out)
    ordered: dict[str, list[str]] = {}
    for user, item, _hour in sorted(events, key=lambda event: event[2]):
        ordered.setdefault(f"u{user}", []).append(f"i{item}")
    expected = {}
    for user, sequence in ordered.items():
        if len(sequence) > held_out:
            history = [item for item in sequence[:-held_out] if item != "i8"]
            target = sequence[-held_out]
            if history and target != "i8" and target not in history:
                expected[user] = ({target}, set(history))
    (task,) = split.tasks
    assert asked(task) == expected
    assert items_by_user(split.past) == {
        user: [item for item in sequence[:-2] if item != "i8"]
        for user, sequence in ordered.items()
        if [item for item in sequence[:-2] if item != "i8"]
    }
    assert split.past.items == split.histories.items == ITEMS
    assert split.asks_for_new_alone == bool(expected)


def items_by_user(interactions: Interactions) -> dict[str, list[str]]:
    ids = np.array([item.item_id for item in interactions.items])
    first = interactions.first_event
    return {
        user: ids[interactions.item[first[row] : first[row + 1]]].tolist()
        for row, user in enumerate(interactions.user_ids)
    }


@given(EVENTS)
def test_a_repeated_event_changes_no_split(events: list[tuple[int, int, int]]) -> None:
    once = frame(events)
    twice = pl.concat([once, once])
    for split in (
        lambda e: temporal_split(e, ITEMS, START + timedelta(hours=10)),
        lambda e: leave_one_out_split(e, ITEMS),
    ):
        assert [asked(task) for task in split(once).tasks] == [
            asked(task) for task in split(twice).tasks
        ]


@pytest.mark.parametrize("held_out", [0, 3])
def test_other_positions_are_refused(held_out: Any) -> None:
    with pytest.raises(ValueError, match=f"Received: {held_out}"):
        leave_one_out_split(frame([]), ITEMS, held_out)


@given(EVENTS, st.integers(1, 19))
def test_a_weightless_event_is_known_and_is_no_answer(
    events: list[tuple[int, int, int]], cut: int
) -> None:
    moment = START + timedelta(hours=cut)
    # The types differ with the item: what is shown in the feed is no act.
    is_shown = pl.col("item_id").is_in(["i0", "i1", "i2"])
    shown = pl.when(is_shown).then(pl.lit("impression")).otherwise("event_type")
    frame_ = frame(events).with_columns(event_type=shown)
    weightless = {"impression"}
    for split in (
        temporal_split(frame_, ITEMS, moment, weightless=weightless),
        everyone_split(frame_, ITEMS, moment, weightless=weightless),
    ):
        known = {(f"u{user}", f"i{item}") for user, item, hour in events if hour < cut and item < 8}
        assert known == {
            (user, item) for user, items in items_by_user(split.past).items() for item in items
        }
        later = {(f"u{u}", f"i{i}") for u, i, hour in events if hour >= cut and 3 <= i < 8}
        answers = asked(split.tasks[-1])
        assert {(u, i) for u, (wanted, _) in answers.items() for i in wanted} <= later
    every = Interactions.from_frame(frame_, ITEMS)
    returning = [every.user_ids[user] for user in returning_users(every, moment, weightless)]
    split = temporal_split(frame_, ITEMS, moment, weightless=weightless)
    assert returning == list(asked(split.tasks[-1]))


def test_the_last_answer_is_asked_for_whatever_is_shown_after_it() -> None:
    events = frame([(0, 3, 1), (0, 0, 2), (0, 4, 3), (0, 1, 4), (0, 5, 5), (0, 2, 6)])
    shown = pl.col("item_id").is_in(["i0", "i1", "i2"])
    events = events.with_columns(
        event_type=pl.when(shown).then(pl.lit("hide")).otherwise("event_type")
    )
    last = leave_one_out_split(events, ITEMS, weightless={"hide"})
    assert asked(last.tasks[0]) == {"u0": ({"i5"}, {"i3", "i0", "i4", "i1"})}
    assert items_by_user(last.past) == {"u0": ["i3", "i0"]}
    before = leave_one_out_split(events, ITEMS, 2, weightless={"hide"})
    assert asked(before.tasks[0]) == {"u0": ({"i4"}, {"i3", "i0"})}


def test_interactions_without_a_type_are_of_the_same_users_and_items() -> None:
    events = frame([(0, 3, 1), (1, 0, 2), (1, 4, 3)])
    shown = pl.when(pl.col("item_id") == "i0").then(pl.lit("hide")).otherwise("event_type")
    every = Interactions.from_frame(events.with_columns(event_type=shown), ITEMS)
    left = every.without({"hide"})
    assert items_by_user(left) == {"u0": ["i3"], "u1": ["i4"]}
    assert (left.items, left.user_ids) == (every.items, every.user_ids)
    assert every.without({"view", "hide"}).first_event.tolist() == [0, 0, 0]
