"""The monitor says what share of the true best candidates the index finds."""

from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from prometheus_client import CollectorRegistry

from serving.candidate_index import Neighbours
from serving.candidate_space import CandidateSpace
from serving.encoder import Encoder
from serving.exact_index import ExactIndex
from serving.live_model import LiveModel, ModelHolder
from serving.recall_monitor import RecallMonitor, recall_of

DIMENSION = 8


class Forgetful(ExactIndex):
    """Finds every other of the true best candidates, and what comes after them."""

    is_exact = False  # type: ignore[assignment]

    def search(self, query_embeddings: npt.NDArray[np.float32], limit: int) -> Neighbours:
        found = super().search(query_embeddings, 2 * limit)
        return Neighbours(found.rows[:, ::2], found.scores[:, ::2])


def model_of(index: ExactIndex, count: int) -> LiveModel:
    table = ExactIndex(DIMENSION)
    embeddings = np.random.default_rng(0).normal(size=(count, DIMENSION)).astype(np.float32)
    if count:
        for each in (table, index):
            each.upsert([f"i{number}" for number in range(count)], embeddings)
    return LiveModel(SPACE, NO_ENCODER, table, index)


NO_ENCODER = cast(Encoder, object())
SPACE = CandidateSpace("v1", DIMENSION, 1.0, {})


def ask(model: LiveModel, count: int = 5) -> None:
    model.recent_queries.extend(np.eye(DIMENSION, dtype=np.float32)[:count])


def test_recall_is_the_share_that_is_found() -> None:
    model = model_of(Forgetful(DIMENSION), 100)
    ask(model)
    assert recall_of(model) == pytest.approx(0.5)


def test_an_exact_index_misses_nothing() -> None:
    assert recall_of(model_of(ExactIndex(DIMENSION), 10)) == 1.0


def test_nothing_asked_and_nothing_to_find_is_no_number() -> None:
    assert np.isnan(recall_of(model_of(Forgetful(DIMENSION), 100)))
    empty = model_of(Forgetful(DIMENSION), 0)
    ask(empty)
    assert np.isnan(recall_of(empty))


def test_few_candidates_are_all_that_can_be_found() -> None:
    model = model_of(Forgetful(DIMENSION), 4)
    ask(model)
    assert recall_of(model) == pytest.approx(0.5)


def test_the_gauge_holds_the_last_measurement() -> None:
    registry = CollectorRegistry()
    model = model_of(Forgetful(DIMENSION), 100)
    monitor = RecallMonitor(ModelHolder(model), registry, 0)
    assert np.isnan(registry.get_sample_value("riverrun_index_recall") or 0.0)
    ask(model)
    monitor.measure()
    assert registry.get_sample_value("riverrun_index_recall") == pytest.approx(0.5)
