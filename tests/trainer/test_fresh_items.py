"""What is asked beside a model where people read what has just been published."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.schema import Item
from feature_repo.times import microseconds
from riverrun.evaluating import Question, evaluate_models
from tests.support.few_events import EVENTS, START, frame
from trainer.baselines import NewestFirst, Popularity, baselines
from trainer.evaluate import EvaluationRow
from trainer.interactions import Interactions
from trainer.ranking.service_settings import ServiceSettings
from trainer.refresh.gate_settings import BASELINES, OF_FRESH_ITEMS, OF_RETURNS
from trainer.settings import TrainingSettings
from trainer.tasks import Split, everyone_split, leave_one_out_split, temporal_split

DAYS, PER_DAY, USERS = 12, 6, 30
CUT = START + timedelta(days=DAYS - 1, hours=12)


def published(*hours: float | None) -> list[Item]:
    """Return items i0, i1 ... by their hours of publication after `START`; None has none."""
    return [
        Item(
            item_id=f"i{number}",
            published_at=None if hour is None else START + timedelta(hours=hour),
        )
        for number, hour in enumerate(hours)
    ]


def articles(moved: timedelta = timedelta()) -> list[Item]:
    """Return `PER_DAY` articles of each day, at its midnight, in the order of days."""
    hours = [24.0 * (number // PER_DAY) for number in range(DAYS * PER_DAY)]
    items = published(*hours)
    return [
        item.model_copy(update={"published_at": item.published_at and item.published_at + moved})
        for item in items
    ]


def readings() -> pl.DataFrame:
    """Return events: each day everybody reads two of its articles, the first of them mostly.

    Mornings and evenings, so that what is read after `CUT` on the last day was there before it.
    """
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, PER_DAY + 1)
    events = [
        (user, PER_DAY * day + int(article), 24 * day + hour)
        for day in range(DAYS)
        for user in range(USERS)
        for hour, article in zip(
            (8, 20), rng.choice(PER_DAY, 2, replace=False, p=shares / shares.sum()), strict=True
        )
    ]
    return frame(events)


def simple_rows(split: Split) -> Sequence[EvaluationRow]:
    """Return the rows of the simple recommenders that are asked."""
    question = Question(split, TrainingSettings(), ServiceSettings(), None)
    return evaluate_models(question, split, [], None, "", with_slices=False).rows


def names(past: Interactions) -> tuple[str, ...]:
    return tuple(scorer.name for scorer in baselines(past))


def test_where_fresh_items_are_read_they_are_rivals_and_the_older_ones_are_weak() -> None:
    split = temporal_split(readings(), articles(), CUT)
    rows = simple_rows(split)
    of_news = tuple(name for name in BASELINES if name != OF_RETURNS)
    assert tuple(row.scorer for row in rows if row.task == "novel") == of_news
    ndcg = {row.scorer: row.metrics["ndcg@10"] for row in rows if row.task == "novel"}
    assert ndcg["popularity, last day"] > 2 * ndcg["popularity"]
    assert ndcg["newest first"] > 2 * ndcg["popularity"]
    # Of one day the popular come first, and of a day of equals any.
    assert ndcg["popularity, last day"] > ndcg["newest first"]


def without_times() -> list[Item]:
    return [item.model_copy(update={"published_at": None}) for item in articles()]


@pytest.mark.parametrize(
    "items",
    [
        articles(-timedelta(days=30)),
        without_times(),
        # As where times are positions, or items were written anew after they were acted on.
        articles(timedelta(days=20_000)),
    ],
)
def test_a_shop_of_long_lived_items_has_the_table_that_it_had(items: list[Item]) -> None:
    split = temporal_split(readings(), items, CUT)
    as_before = tuple(name for name in BASELINES if name not in {*OF_FRESH_ITEMS, OF_RETURNS})
    assert names(split.past) == as_before
    rows = simple_rows(split)
    assert tuple(row.scorer for row in rows if row.task == "all") == as_before


@pytest.mark.parametrize(("old", "is_asked"), [(0, True), (4, True), (5, False)])
def test_half_of_the_events_decide(old: int, is_asked: bool) -> None:
    """The age is that at the event: what was new when it was read is old by now."""
    items = published(0, -72)
    acts = [(number, 0, number) for number in range(4)] + [(9, 1, hour) for hour in range(old)]
    past = Interactions.from_frame(frame(acts), items)
    assert (set(OF_FRESH_ITEMS) <= {*names(past)}) == is_asked
    assert set(OF_FRESH_ITEMS).isdisjoint(names(Interactions.from_frame(frame([]), items)))


def test_newest_first_is_the_order_of_publication() -> None:
    items = published(3, None, -9_000, 3.0000001, 5, 700)
    past = Interactions.from_frame(frame([(0, 0, 4), (1, 2, 6)]), items)
    scores = NewestFirst(past).score(np.array([0, 1, 0]))
    # The last is not published when the newest event happens; a microsecond counts.
    assert scores.argsort()[:, 2:].tolist() == [[2, 0, 3, 4]] * 3
    assert (scores[:, [1, 5]] == 0).all()
    assert (scores[:, [0, 2, 3, 4]] > 0).all()
    # Whoever asks earlier does not see what came later.
    at = np.array([microseconds(START + timedelta(hours=hour)) for hour in (4, 800)])
    early, late = NewestFirst(past, moments=at).score(np.array([0, 1])) > 0
    assert early.tolist() == [True, False, True, True, False, False]
    assert late.tolist() == [True, False, True, True, True, True]


@given(EVENTS, EVENTS, st.integers(0, 21))
def test_no_baseline_knows_what_happens_after_the_moment_that_is_asked(
    events: list[tuple[int, int, int]], other: list[tuple[int, int, int]], hour: int
) -> None:
    """Whatever follows the cut, the same baselines give the same scores before it."""
    cut = START + timedelta(hours=hour)
    items = published(-4, -1, 0, 2, 7, 12, 19, None)
    before = [event for event in events if event[2] < hour]
    futures = [[event for event in each if event[2] >= hour] for each in (events, other, [])]
    found = []
    for future in futures:
        past = temporal_split(frame([*before, *future]), items, cut).past
        users = np.arange(len(past.user_ids))
        found.append([(each.name, each.score(users).tolist()) for each in baselines(past)])
    assert found[0] == found[1] == found[2]


@given(EVENTS, st.integers(0, 21))
def test_new_items_are_listed_from_their_publication_on(
    events: list[tuple[int, int, int]], hour: int
) -> None:
    """Also where an evaluation asks about what the past has not heard of."""
    cut: datetime = START + timedelta(hours=hour)
    items = published(-4, -1, 0, 2, 7, 12, 19, None)
    split = everyone_split(frame(events), items, cut)
    assert split.moments is not None
    users = np.arange(len(split.histories.user_ids))
    scores = NewestFirst(split.past, split.histories, moments=split.moments).score(users)
    for row, moment in zip(scores, split.moments, strict=True):
        is_out = [
            each.published_at is not None and microseconds(each.published_at) <= moment
            for each in split.past.items
        ]
        assert ((row > 0) == is_out).all()


def test_users_of_last_events_are_asked_at_the_end_of_what_is_known() -> None:
    split = leave_one_out_split(
        frame([(0, number, number) for number in range(6)]), published(*range(6))
    )
    assert split.moments is None
    scores = NewestFirst(split.past, split.histories).score(np.array([0]))
    assert scores.tolist() == [[1, 2, 3, 4, 5, 0]]


def test_the_last_day_is_counted_from_the_newest_event() -> None:
    events = frame([(0, 0, 0), (1, 0, 0), (2, 1, 2), (3, 1, 25), (3, 2, 25), (4, 1, 26)])
    past = Interactions.from_frame(events, published(0, 0, 0))
    last_day = Popularity(past, days=1)
    assert last_day.name == "popularity, last day"
    assert last_day.score(np.array([0])).tolist() == [[0, 1, 0.5]]
