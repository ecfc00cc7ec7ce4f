"""What an event is worth decides what a trained ranker puts first."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl
import pytest

from serving.ranking.ranker import Ranker
from serving.source_names import SOURCES
from tests.support import tiny_training as tiny
from trainer.interactions import Interactions
from trainer.ranking.examples import Examples, future_labels, requests_of
from trainer.ranking.fitted_tables import fit_tables
from trainer.ranking.objectives import objectives_of
from trainer.ranking.past_shop import PastShop, ranking_of
from trainer.ranking.ranker import as_ranker, train_ranker
from trainer.ranking.service_settings import ServiceSettings
from trainer.ranking.settings import RankerSettings

pytestmark = pytest.mark.slow

DEAR = tiny.NUM_ITEMS // 2
"""Items from this number on are dear."""


@pytest.fixture(scope="module")
def past() -> Interactions:
    return tiny.tiny_interactions()


@pytest.fixture(scope="module")
def future(past: Interactions) -> pl.DataFrame:
    """Everybody looks at cheap things and buys dear ones."""
    random = np.random.default_rng(0)
    return pl.DataFrame(
        [
            {
                "user_id": user_id,
                "item_id": f"i{item}",
                "event_type": "purchase" if item >= DEAR else "view",
                "timestamp": past.end + timedelta(hours=1),
            }
            for user_id in past.user_ids
            for item in random.choice(tiny.NUM_ITEMS, tiny.NUM_ITEMS // 3, replace=False)
        ]
    )


@dataclass(frozen=True)
class Asked:
    """A shop of the past, and the features of each user's candidates."""

    past: Interactions
    future: pl.DataFrame

    @cached_property
    def shop(self) -> PastShop:
        settings = RankerSettings(ease_regularisation=1.0)
        data = fit_tables(self.past, tiny.tiny_text_embeddings(), settings)
        return PastShop(self.past, ranking_of(data), None, ServiceSettings())

    def trained(self, settings: RankerSettings) -> Ranker:
        objectives = objectives_of(self.future["event_type"], settings.event_type_weights)
        labels = future_labels(self.past, self.future, settings, objectives)
        users, random = np.arange(len(self.past.user_ids)), np.random.default_rng(0)
        asked = requests_of(self.shop, labels, users, None, random, objectives=objectives)
        return as_ranker(train_ranker(Examples.joined(list(asked)), settings))

    def scores(self, ranker: Ranker) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return rows and scores of each user's candidates."""
        found = []
        for user in range(len(self.past.user_ids)):
            context = self.shop.context(user, None)
            pool = self.shop.stage.pool(context)
            features = self.shop.stage.features(pool, SOURCES, context)
            found.append((pool.rows, ranker.score(features)))
        return found

    def lead(self, ranker: Ranker) -> float:
        """Return by how many places what is dear stands before what is cheap, on average."""
        leads = []
        for rows, scores in self.scores(ranker):
            places, is_dear = np.argsort(np.argsort(-scores)), rows >= DEAR
            leads.append(places[~is_dear].mean() - places[is_dear].mean())
        return float(np.mean(leads))


@pytest.mark.parametrize("loss", ["pointwise", "listwise"])
def test_the_weights_of_types_decide_what_is_first_when_trained_and_when_served(
    past: Interactions, future: pl.DataFrame, loss: Literal["pointwise", "listwise"]
) -> None:
    asked = Asked(past, future)
    settings = RankerSettings(epochs=30, batch_size=64, loss=loss)

    def trained(weights: dict[str, float]) -> Ranker:
        return asked.trained(settings.model_copy(update={"event_type_weights": weights}))

    equal = trained({"view": 1.0, "purchase": 1.0})
    viewed, bought = {"view": 5.0, "purchase": 0.5}, {"view": 0.5, "purchase": 5.0}
    assert asked.lead(equal.weighing(viewed)) < 0 < asked.lead(equal.weighing(bought))
    assert (
        asked.lead(equal.weighing(viewed)) < asked.lead(equal) < asked.lead(equal.weighing(bought))
    )
    # What is set when it serves does what it would have done when it was trained.
    for (_, once), (_, again) in zip(
        asked.scores(trained(bought)), asked.scores(equal.weighing(bought)), strict=True
    ):
        np.testing.assert_allclose(once - once.max(), again - again.max(), atol=1e-3)
