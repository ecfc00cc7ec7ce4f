"""What is held out lies after all that its split has seen, from the newest on."""

from datetime import datetime, timedelta
from itertools import islice
from typing import Any, cast

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.times import INSTANT, microseconds
from tests.support.few_events import EVENTS, ITEMS, START, frame
from trainer.held_out import hold_out
from trainer.held_out_splits import held_out_splits, newest_cut
from trainer.interactions import Interactions
from trainer.judging import judge_epochs
from trainer.material import Material
from trainer.ranking.service_settings import ServiceSettings
from trainer.settings import TrainingSettings
from trainer.tasks import Split
from trainer.windows import make_windows

NEWEST = TrainingSettings(holdout_share=0.2)
LAST_EVENTS = TrainingSettings(holdout="last_events")

FewEvents = list[tuple[int, int, int]]


def splits(
    events: FewEvents, settings: TrainingSettings, since: datetime | None = None
) -> list[Split]:
    return list(islice(held_out_splits(frame(events), ITEMS, settings, since), 30))


@given(EVENTS)
def test_slices_of_the_time_meet_and_are_of_one_length(events: FewEvents) -> None:
    every = Interactions.from_frame(frame(events), ITEMS)
    length = (every.end - every.start) * NEWEST.holdout_share + INSTANT
    end = every.end + INSTANT
    found = splits(events, NEWEST)
    for split in found:
        assert split.past.end < end - length
        times = split.future["timestamp"].to_list()
        assert all(end - length <= time < end for time in times)
        asked = pl.col("timestamp").is_between(end - length, end, closed="left")
        assert len(times) == frame(events).filter(asked).height
        assert [task.name for task in split.tasks] == ["novel", "all"]
        end -= length
    # They end where nothing is left before a cut, and not sooner.
    moments = every.timestamp.tolist()
    assert bool(found) == any(
        moment < microseconds(every.end + INSTANT - length) for moment in moments
    )
    assert not any(moment < microseconds(end - length) for moment in moments)


@pytest.mark.parametrize(("days", "newest"), [(10, 2), (100, 20), (400, 30)])
def test_the_newest_slice_is_a_share_of_the_time_and_no_longer_than_30_days(
    days: int, newest: int
) -> None:
    every = Interactions.from_frame(frame([(0, 0, 0), (0, 1, 24 * days)]), ITEMS)
    cut = START + timedelta(days=days - newest)
    assert newest_cut(every, NEWEST) == cut
    # What was seen is not asked for; what is older than the slice neither.
    hour = timedelta(hours=1)
    assert newest_cut(every, NEWEST, cut + hour) == cut + hour
    assert newest_cut(every, NEWEST, cut - hour) == cut


@given(EVENTS, st.integers(0, 24))
def test_the_newest_slice_begins_after_what_was_seen(events: FewEvents, hour: int) -> None:
    since = START + timedelta(hours=hour)
    every = Interactions.from_frame(frame(events), ITEMS)
    newest = splits(events, NEWEST, since)[:1]
    cut = microseconds(newest_cut(every, NEWEST, since))
    assert bool(newest) == bool((every.timestamp < cut).any())
    for split in newest:
        assert all(time >= since for time in split.future["timestamp"].to_list())


@given(EVENTS)
def test_last_events_go_back_event_by_event(events: FewEvents) -> None:
    ordered = frame(events).sort("user_id", "timestamp", "event_id")
    sequences = dict(ordered.group_by("user_id").agg("item_id").iter_rows())
    found = splits(events, LAST_EVENTS)
    for number, split in enumerate(found, start=1):
        (task,) = split.tasks
        assert task.histories is split.past
        asked = dict(split.future.select("user_id", "item_id").iter_rows())
        assert asked == {
            user: items[-number] for user, items in sequences.items() if len(items) >= number
        }
        seen = split.past.frame().group_by("user_id", maintain_order=True).agg("item_id")
        assert dict(seen.iter_rows()) == {
            user: known
            for user, items in sequences.items()
            if (known := [item for item in items[:-number] if item != "i8"])
        }
    # They end where nothing is left before the events that are asked for.
    left = [items[: -len(found) - 1] for items in sequences.values()]
    assert len(found) == 30 or not any(item != "i8" for items in left for item in items)


def material_of(events: FewEvents, settings: TrainingSettings = NEWEST) -> Material:
    """Return what needs no text to be read."""
    read, unused = frame(events), cast(Any, None)
    interactions = Interactions.from_frame(read, ITEMS)
    return Material(read, ITEMS, interactions, settings, unused, None, unused)


@pytest.mark.parametrize("settings", [NEWEST, LAST_EVENTS])
def test_what_weighs_nothing_is_asked_of_nobody(settings: TrainingSettings) -> None:
    events = [(user, hour % 8, hour) for user in range(5) for hour in range(20)]
    ignored = settings.model_copy(update={"event_type_weights": {"view": 0.0}})
    for of, is_asked in ((settings, True), (ignored, False)):
        asked = [len(task.users) for split in splits(events, of) for task in split.tasks]
        assert any(asked) == is_asked


@given(EVENTS, st.sampled_from([NEWEST, LAST_EVENTS]), st.sampled_from([0, 1, 3]))
def test_what_is_held_out_is_asked_of_what_can_be_learned(
    events: FewEvents, settings: TrainingSettings, slices: int
) -> None:
    ranking = settings.ranking.model_copy(update={"slices": slices})
    settings = settings.model_copy(update={"ranking": ranking})
    held_out = hold_out(material_of(events, settings))
    newest = splits(events, settings)[:1]
    can_be = [
        len(split.tasks[-1].users) > 0 and len(make_windows(split.past, settings)) > 0
        for split in newest
    ]
    assert (held_out is not None) == any(can_be)
    # Models are judged also where a ranker learns from no slice.
    if held_out is not None:
        assert len(held_out.splits) == min(max(slices, 1), len(splits(events, settings)))


@pytest.mark.parametrize(
    ("num_users", "ranking", "judging"),
    [
        (9, {"min_users": 5}, 9),
        (10, {"min_users": 5}, 5),
        (11, {"min_users": 5}, 6),
        (11, {"min_users": 5, "slices": 0}, 11),
        (11, {"min_users": 5, "enabled": False}, 11),
    ],
)
def test_half_of_the_users_judge_where_the_others_are_enough_for_a_ranker(
    num_users: int, ranking: dict[str, object], judging: int
) -> None:
    # Nobody acts on an item that is new to them: there is no task of novel items.
    events = [(user, user % 8, hour) for user in range(num_users) for hour in (0, 5, 9, 10)]
    settings = NEWEST.model_copy(update={"ranking": NEWEST.ranking.model_copy(update=ranking)})
    held_out = hold_out(material_of(events, settings))
    assert held_out is not None
    assert len(held_out.judged) == judging
    assert set(held_out.judged) <= set(held_out.split.tasks[-1].users)
    assert held_out.judged.tolist() == sorted(set(held_out.judged.tolist()))
    (task,) = held_out.tasks
    assert (task.name, task.users.tolist()) == ("all", held_out.judged.tolist())
    again = hold_out(material_of(events, settings))
    assert again is not None
    assert again.judged.tolist() == held_out.judged.tolist()


def test_without_a_past_to_learn_from_all_epochs_count_as_best() -> None:
    events = [(1, 0, 0), (2, 1, 5), (1, 1, 10)]
    judged = judge_epochs(material_of(events), None, None, lambda progress: None, ServiceSettings())
    assert judged.epochs == NEWEST.epochs
    assert not judged.rows
    assert "nobody could be asked about what was held out" in judged.learned.no_ranker


@pytest.mark.parametrize("settings", [NEWEST, LAST_EVENTS])
def test_nothing_is_held_out_of_nothing_or_at_a_share_of_0(settings: TrainingSettings) -> None:
    assert splits([], settings) == []
    off = settings.model_copy(update={"holdout_share": 0.0})
    assert splits([(1, 1, 1), (1, 2, 2)], off) == []
