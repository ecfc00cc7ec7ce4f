"""What an event is worth decides what a trained ranker puts first."""

from datetime import timedelta
from typing import Literal

import numpy as np
import polars as pl
import pytest

from serving.source_names import SOURCES
from tests.support import tiny_training as tiny
from trainer.ranking.examples import Examples, future_labels, requests_of
from trainer.ranking.fitted_tables import fit_tables
from trainer.ranking.past_shop import PastShop, ranking_of
from trainer.ranking.ranker import as_ranker, train_ranker
from trainer.ranking.service_settings import ServiceSettings
from trainer.ranking.settings import RankerSettings

pytestmark = pytest.mark.slow

DEAR = tiny.NUM_ITEMS // 2
"""Items from this number on are dear."""


@pytest.mark.parametrize("loss", ["pointwise", "listwise"])
def test_raising_the_weight_of_purchases_puts_first_what_is_bought(
    loss: Literal["pointwise", "listwise"],
) -> None:
    """Everybody looks at cheap things and buys dear ones."""
    past, random = tiny.tiny_interactions(), np.random.default_rng(0)
    future = pl.DataFrame(
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

    def lead(view: float, purchase: float) -> float:
        """Return by how many places what is dear stands before what is cheap, on average."""
        settings = RankerSettings(
            ease_regularisation=1.0,
            epochs=30,
            batch_size=64,
            loss=loss,
            event_type_weights={"view": view, "purchase": purchase},
        )
        data = fit_tables(past, tiny.tiny_text_embeddings(), settings)
        shop = PastShop(past, ranking_of(data), None, ServiceSettings())
        labels = future_labels(past, future, settings)
        users = np.arange(len(past.user_ids))
        random = np.random.default_rng(0)
        examples = Examples.joined(list(requests_of(shop, labels, users, None, random)))
        ranker, leads = as_ranker(train_ranker(examples, settings)), []
        for user in users.tolist():
            context = shop.context(user, None)
            pool = shop.stage.pool(context)
            scores = ranker.score(shop.stage.features(pool, SOURCES, context))
            places = np.argsort(np.argsort(-scores))
            is_dear = pool.rows >= DEAR
            leads.append(places[~is_dear].mean() - places[is_dear].mean())
        return float(np.mean(leads))

    viewed, bought = lead(view=5.0, purchase=0.5), lead(view=0.5, purchase=5.0)
    assert viewed < 0 < bought
    assert viewed < lead(view=1.0, purchase=1.0) < bought
