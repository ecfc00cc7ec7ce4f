"""Slices share out a task's users and relevant items, and look at no more than it does."""

from datetime import timedelta

import numpy as np
from hypothesis import given, settings

from tests.support.few_events import EVENTS, ITEMS, START, frame
from trainer.baselines import EmbeddingScorer
from trainer.evaluate import evaluate
from trainer.slices import ITEM_SLICES, USER_SLICES, item_slices, user_slices
from trainer.tasks import EvaluationTask, Split, everyone_split, leave_one_out_split, temporal_split

CUT = START + timedelta(hours=10)


def splits(events: list[tuple[int, int, int]]) -> list[Split]:
    columns = frame(events)
    return [
        temporal_split(columns, ITEMS, CUT),
        everyone_split(columns, ITEMS, CUT),
        leave_one_out_split(columns, ITEMS),
    ]


def pairs(task: EvaluationTask) -> list[tuple[int, int]]:
    return [
        (int(user), int(item))
        for user, relevant in zip(task.users, task.relevant, strict=True)
        for item in relevant
    ]


def is_between(count: int, bounds: tuple[int, int | None]) -> bool:
    low, high = bounds
    return low <= count and (high is None or count <= high)


@given(EVENTS)
def test_each_user_is_in_the_slice_of_the_length_of_the_history(
    events: list[tuple[int, int, int]],
) -> None:
    for split in splits(events):
        for task in split.tasks:
            slices = user_slices(task)
            assert sorted(pair for part in slices for pair in pairs(part)) == pairs(task)
            for part, bounds in zip(slices, USER_SLICES, strict=True):
                for user in part.users:
                    assert is_between(int((task.histories.user == user).sum()), bounds)


@given(EVENTS)
def test_each_relevant_item_is_in_the_slice_of_its_events_in_the_past(
    events: list[tuple[int, int, int]],
) -> None:
    for split in splits(events):
        for task in split.tasks:
            slices = item_slices(task, split.past)
            assert sorted(pair for part in slices for pair in pairs(part)) == pairs(task)
            for part, bounds in zip(slices, ITEM_SLICES, strict=True):
                for _, item in pairs(part):
                    assert is_between(int((split.past.item == item).sum()), bounds)


@settings(max_examples=30)
@given(EVENTS)
def test_who_knows_the_future_is_perfect_on_every_slice(
    events: list[tuple[int, int, int]],
) -> None:
    for split in splits(events):
        for task in split.tasks:
            future = np.zeros((len(task.histories.user_ids), len(task.histories.items)), np.float32)
            for user, item in pairs(task):
                future[user, item] = 1
            oracle = EmbeddingScorer("oracle", future, np.eye(future.shape[1], dtype=np.float32))
            for part in (*user_slices(task), *item_slices(task, split.past)):
                row = evaluate(oracle, part)
                assert row.num_users == 0 or abs(row.metrics["ndcg@10"] - 1) < 1e-9


def test_slices_are_named_by_their_numbers() -> None:
    (split, *_) = splits([(0, 0, 0), (0, 1, 12)])
    task = split.tasks[0]
    assert [part.name for part in user_slices(task)] == [
        "users with 0 events",
        "users with 1 event",
        "users with 2-5 events",
        "users with 6+ events",
    ]
    assert [part.name for part in item_slices(task, split.past)] == [
        "items with 0 events",
        "items with 1-5 events",
        "items with 6+ events",
    ]
