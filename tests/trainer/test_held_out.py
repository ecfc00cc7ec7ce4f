"""What is held out lies after all that its split has seen, from the newest on."""

from datetime import datetime, timedelta
from itertools import islice
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.times import INSTANT
from tests.support.few_events import EVENTS, ITEMS, START, frame
from trainer.held_out import hold_out
from trainer.held_out_splits import held_out_splits
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
    for split in splits(events, NEWEST):
        assert split.past.end < end - length
        times = split.future["timestamp"].to_list()
        assert all(end - length <= time < end for time in times)
        assert [task.name for task in split.tasks] == ["novel", "all"]
        end -= length


@given(EVENTS, st.integers(0, 24))
def test_the_newest_slice_begins_after_what_was_seen(events: FewEvents, hour: int) -> None:
    since = START + timedelta(hours=hour)
    for split in splits(events, NEWEST, since)[:1]:
        assert all(time >= since for time in split.future["timestamp"].to_list())


@given(EVENTS)
def test_last_events_go_back_event_by_event(events: FewEvents) -> None:
    ordered = frame(events).sort("user_id", "timestamp", "event_id")
    sequences = dict(ordered.group_by("user_id").agg("item_id").iter_rows())
    for number, split in enumerate(splits(events, LAST_EVENTS), start=1):
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


def material_of(events: FewEvents, settings: TrainingSettings = NEWEST) -> Material:
    """Return what needs no text to be read."""
    read, unused = frame(events), cast(Any, None)
    interactions = Interactions.from_frame(read, ITEMS)
    return Material(read, ITEMS, interactions, settings, unused, None, unused)


@given(EVENTS, st.sampled_from([NEWEST, LAST_EVENTS]))
def test_what_is_held_out_is_asked_of_what_can_be_learned(
    events: FewEvents, settings: TrainingSettings
) -> None:
    held_out = hold_out(material_of(events, settings))
    newest = splits(events, settings)[:1]
    can_be = [
        len(split.tasks[-1].users) > 0 and len(make_windows(split.past, settings)) > 0
        for split in newest
    ]
    assert (held_out is not None) == any(can_be)


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
