"""Which candidates the ranker learns from."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from structlog.testing import capture_logs

from serving.ranking.feature_names import feature_names
from serving.source_names import SOURCES
from tests.support.few_events import EVENTS, ITEMS, frame
from trainer.interactions import Interactions
from trainer.ranking import examples
from trainer.ranking.examples import Examples, examples_of, future_labels, requests_of
from trainer.ranking.objectives import objectives_of
from trainer.ranking.settings import RankerSettings

NUM_ITEMS, WIDTH = 40, len(feature_names(SOURCES))


class Proposals:
    """A shop that proposes given rows to each user; a candidate's first feature is its row.

    seen: by user, what is not proposed to one who has hidden it.
    """

    num_items = NUM_ITEMS

    def __init__(self, rows: list[list[int]], seen: list[list[int]] | None = None) -> None:
        self._seen = seen or [[] for _ in rows]
        self.stage = SimpleNamespace(
            two_tower=SimpleNamespace(name="two_tower"),
            pool=lambda asked: _pool(sorted({*rows[asked[0]]} - {*asked[1]})),
            features=lambda pool, *_: np.tile(pool.rows[:, None], WIDTH).astype(np.float32),
            fusible=lambda pool: np.tile(pool.rows[:, None], len(SOURCES)) * 2,
        )

    def seen(self, user: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array(self._seen[user], np.int64)

    def context(self, user: int, _: object, hidden: Any) -> tuple[int, list[int]]:
        return user, [] if hidden is None else hidden.tolist()


def _pool(rows: list[int]) -> SimpleNamespace:
    held = np.array(rows, np.int64)
    return SimpleNamespace(
        rows=held,
        shares=lambda: np.tile(held[:, None], len(SOURCES)) / NUM_ITEMS,
        scores_of=lambda _: held.astype(np.float32),
    )


def asked(rows: list[list[int]], acts: list[set[int]], negatives: int, most: int) -> Examples:
    labels = np.zeros((len(rows), NUM_ITEMS), np.float32)
    for user, items in enumerate(acts):
        labels[user, list(items)] = 1.0
    shop: Any = Proposals(rows)
    users, random = np.arange(len(rows)), np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "MOST_NEGATIVES", most)
        queries = np.zeros((len(rows), 1), np.float32)
        requests = requests_of(shop, sparse.csr_array(labels), users, queries, random)
        return examples_of(requests, negatives, len(users), random)


LISTS = st.lists(
    st.tuples(
        st.lists(st.integers(0, NUM_ITEMS - 1), unique=True, max_size=NUM_ITEMS),
        st.sets(st.integers(0, NUM_ITEMS - 1), max_size=5),
    ),
    min_size=1,
    max_size=6,
)


@given(LISTS, st.integers(0, 12), st.integers(1, 200))
def test_negatives_are_bounded_and_weigh_as_much_as_all(
    lists: list[tuple[list[int], set[int]]], negatives: int, most: int
) -> None:
    rows, acts = [list(each) for each, _ in lists], [each for _, each in lists]
    some, every = asked(rows, acts, negatives, most), asked(rows, acts, 0, 10**9)
    assert np.count_nonzero(some.labels == 0) <= max(most, len(rows))
    assert some.num_requests == every.num_requests
    # What was acted on is kept, with its features.
    for each in (some, every):
        assert len(each.features) == len(each.labels) == len(each.weights) == each.sizes.sum()
        if each.num_requests:
            assert each.opinions is not None
            assert len(each.opinions.totals) == len(each.opinions.silent) == each.num_requests
            np.testing.assert_array_equal(each.opinions.two_tower, each.features[:, 0])
            for column, scale in ((each.opinions.shares, NUM_ITEMS), (each.opinions.fusible, 0.5)):
                np.testing.assert_allclose(column[:, 3] * scale, each.opinions.two_tower, rtol=1e-6)
    # What makes a softmax of scores is of all candidates, also where some are kept.
    if some.opinions and every.opinions:
        np.testing.assert_array_equal(some.opinions.totals, every.opinions.totals)
        np.testing.assert_array_equal(some.opinions.silent, every.opinions.silent)
    positive = [each.features[each.worth > 0, 0].tolist() for each in (some, every)]
    assert positive[0] == positive[1]
    starts = [np.repeat(np.arange(each.num_requests), each.sizes) for each in (some, every)]
    weights = [
        np.bincount(start, each.weights, each.num_requests)
        for start, each in zip(starts, (some, every), strict=True)
    ]
    np.testing.assert_allclose(*weights, rtol=1e-5)


@pytest.mark.parametrize(
    ("negatives", "most", "kept", "said"),
    [(0, 10**9, 29, False), (0, 60, 20, True), (10, 60, 10, False), (25, 60, 20, True)],
)
def test_who_bounds_it_is_said(negatives: int, most: int, kept: int, said: bool) -> None:
    with capture_logs() as logs:
        found = asked([list(range(30))] * 3, [{1}] * 3, negatives, most)
    assert found.sizes.tolist() == [kept + 1] * 3
    assert [log["event"] for log in logs] == ["negatives_sampled"] * said
    assert not said or (logs[0]["of_each"], logs[0]["most_found"]) == (20, 29)


@pytest.mark.parametrize(
    ("hiding", "least", "most"), [(0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)]
)
def test_some_ask_for_what_is_new_if_anything_new_comes(
    hiding: float, least: int, most: int
) -> None:
    """Else a ranker would know no list with `exclude_seen`, whose candidates are others."""
    seen, new = list(range(10)), list(range(10, 20))
    users = np.arange(400)
    labels = np.zeros((len(users), NUM_ITEMS), np.float32)
    labels[:, 3] = 1.0
    labels[:200, 13] = 1.0
    shop: Any = Proposals([seen + new] * len(users), [seen] * len(users))
    random = np.random.default_rng(0)
    requests = requests_of(shop, sparse.csr_array(labels), users, None, random, hiding)
    found = Examples.joined(list(requests))
    hides = found.sizes == 10
    assert least <= np.count_nonzero(hides[:200]) <= most
    assert (found.sizes[~hides] == 20).all()
    assert not hides[200:].any()
    # Of who hides what was seen, nothing of it is learned from.
    assert found.features[np.repeat(hides, found.sizes), 0].min(initial=10) == 10


@given(EVENTS, EVENTS)
def test_what_weighs_nothing_teaches_as_little_as_what_nobody_did(
    before: list[tuple[int, int, int]], after: list[tuple[int, int, int]]
) -> None:
    past, future = Interactions.from_frame(frame(before), ITEMS), frame(after)
    kinds = [("view", "purchase")[hour % 2] for _, _, hour in after]
    future = future.with_columns(event_type=pl.Series(kinds, dtype=pl.String))
    settings = RankerSettings(event_type_weights={"view": 0.0, "purchase": 5.0})
    objectives = objectives_of(kinds, settings.event_type_weights)
    labels = future_labels(past, future, settings, objectives)
    purchases = future.filter(pl.col("event_type") == "purchase")
    bought = future_labels(past, purchases, settings, objectives)
    np.testing.assert_array_equal(np.diff(labels.indptr), np.diff(bought.indptr))
    np.testing.assert_array_equal(labels.toarray(), bought.toarray())
