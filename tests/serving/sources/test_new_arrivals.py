"""The newest items, whether the kept head of the catalogue answers or all rows are looked at."""

import math
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.schema import Item
from serving.catalogue import Catalogue
from serving.settings import ServingSettings
from serving.sources import new_arrivals
from serving.sources.candidate_source import Context
from serving.sources.new_arrivals import NewArrivalsSource
from tests.support.stream import NOW

NUM_ITEMS = 20
AGES = st.lists(st.none() | st.integers(-5, 60), min_size=NUM_ITEMS, max_size=NUM_ITEMS)
"""Days since the publication of each item; negative ones are still to come."""
MASKS = st.lists(st.booleans(), min_size=NUM_ITEMS, max_size=NUM_ITEMS)
SETTINGS = ServingSettings(new_arrival_days=7)


def context(catalogue: Catalogue, allowed: list[bool], days: float = 0.0) -> Context:
    unused: Any = None
    at = NOW + timedelta(days=days)
    return Context(unused, catalogue.view(), np.array(allowed, np.bool_), False, None, at)


def upsert(catalogue: Catalogue, ages: list[int | None]) -> None:
    moments = [None if age is None else NOW - timedelta(days=age) for age in ages]
    catalogue.upsert(
        [
            Item(item_id=f"i{row}", published_at=published_at)
            for row, published_at in enumerate(moments)
        ]
    )


@given(
    before=AGES,
    after=AGES,
    allowed=MASKS,
    count=st.integers(0, NUM_ITEMS + 1),
    days=st.integers(0, 10),
)
def test_the_newest_that_have_arrived_come_first(
    before: list[int | None],
    after: list[int | None],
    allowed: list[bool],
    count: int,
    days: int,
) -> None:
    source, catalogue = NewArrivalsSource(SETTINGS), Catalogue()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(new_arrivals, "HEAD", 7)
        for ages in (before, after):
            upsert(catalogue, ages)
            found = source.propose(context(catalogue, allowed, days), count)
    arrived = {row: age + days for row, age in enumerate(after) if age is not None}
    arrived = {row: age for row, age in arrived.items() if age >= 0}
    shown = sorted((row for row in arrived if allowed[row]), key=lambda row: (arrived[row], row))
    assert found.rows.tolist() == shown[:count]
    np.testing.assert_allclose(
        found.scores, [math.exp(-arrived[row] / 7) for row in shown[:count]], rtol=1e-5
    )
    every = [math.exp(-arrived[row] / 7) if row in arrived else 0 for row in range(NUM_ITEMS)]
    np.testing.assert_allclose(found.score_of(np.arange(NUM_ITEMS)), every, rtol=1e-5)


def test_a_catalogue_without_dates_has_no_arrivals() -> None:
    catalogue = Catalogue()
    for ages in ([], [None] * 3):
        upsert(catalogue, ages)
        found = NewArrivalsSource(SETTINGS).propose(context(catalogue, [True] * len(ages)), 5)
        assert not len(found)
        assert not found.score_of(np.arange(len(ages))).any()
