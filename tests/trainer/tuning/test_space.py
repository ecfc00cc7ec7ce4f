"""What is searched makes a difference, in a small shop too."""

from typing import Any

import numpy as np
import pytest

from feature_repo.schema import Item
from serving.ranking.feature_names import feature_names
from serving.source_names import SOURCES
from tests.support.few_events import frame
from trainer.interactions import Interactions
from trainer.ranking.examples import Examples
from trainer.ranking.fitted_tables import fit_tables
from trainer.ranking.ranker import as_ranker, train_ranker
from trainer.ranking.settings import RankerSettings
from trainer.settings import TrainingSettings
from trainer.tuning.space import RANKING, Choice, Parameter, Real, Whole, with_values
from trainer.tuning.tuned_settings import TunedSettings

pytestmark = pytest.mark.slow

NUM_ITEMS, NUM_USERS = 100, 200
ITEMS = [Item(item_id=f"i{number}", title=f"lamp {number}") for number in range(NUM_ITEMS)]
PRESENT = TunedSettings(training=TrainingSettings(ranking=RankerSettings(transition_distance=3)))


def past() -> Interactions:
    random = np.random.default_rng(0)
    events = [
        (user, item, 24 * day)
        for user in range(NUM_USERS)
        for day, item in enumerate(random.integers(NUM_ITEMS, size=12).tolist())
    ]
    return Interactions.from_frame(frame(events), ITEMS)


def extremes(parameter: Parameter) -> tuple[Any, Any]:
    if isinstance(parameter, Choice):
        return parameter.options[0], parameter.options[-1]
    assert isinstance(parameter, Real | Whole)
    return parameter.low, parameter.high


def tables(settings: RankerSettings) -> list[Any]:
    texts = np.random.default_rng(0).normal(size=(NUM_ITEMS, 8)).astype(np.float32)
    data = fit_tables(past(), texts / np.linalg.norm(texts, axis=1, keepdims=True), settings)
    return [
        (name, *map(list, (each.starts, each.neighbours, each.weights)), each.days, each.events)
        for name, each in sorted(data.tables.items())
    ]


def scores(settings: RankerSettings) -> np.ndarray:
    random = np.random.default_rng(0)
    features = random.normal(size=(300, len(feature_names(SOURCES)))).astype(np.float32)
    labels = (features[:, :1] > 1).astype(np.float32)
    examples = Examples(features, labels, np.ones(300, np.float32), np.full(10, 30))
    return as_ranker(train_ranker(examples, settings)).score(features)


@pytest.mark.parametrize("name", RANKING)
def test_every_setting_of_ranking_that_is_searched_changes_tables_or_ranker(name: str) -> None:
    low, high = (
        with_values(PRESENT, {name: value}).training.ranking for value in extremes(RANKING[name])
    )
    if tables(low) == tables(high):
        # Trained twice alike, it is the same up to the order in which threads add up.
        assert not np.allclose(scores(low), scores(high), atol=1e-3)
