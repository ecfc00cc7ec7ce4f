"""A source alone orders items as it proposes them."""

from datetime import timedelta

import numpy as np

from serving.settings import ServingSettings
from serving.sources.new_arrivals import NewArrivalsSource
from tests.support.few_events import ITEMS, START, frame
from trainer.interactions import Interactions
from trainer.ranking.past_shop import PastShop
from trainer.ranking.service_settings import ServiceSettings
from trainer.ranking.source_scorer import SourceScorer

DAY = timedelta(days=1)


def test_a_source_that_gives_an_order_alone_is_taken_at_it() -> None:
    days = [3, None, 7, 1, None, 5, 9, 2]
    items = [
        item if day is None else item.model_copy(update={"published_at": START + day * DAY})
        for item, day in zip(ITEMS, days, strict=True)
    ]
    # The newest item has not arrived at the newest event.
    past = Interactions.from_frame(frame([(0, 0, 0), (1, 1, 8 * 24)]), items)
    shop = PastShop(past, lambda rows: None, None, ServiceSettings())
    scores = SourceScorer(NewArrivalsSource(ServingSettings()), shop).score(np.arange(2))
    for own in scores:
        assert np.argsort(-own, kind="stable")[:5].tolist() == [2, 5, 0, 7, 3]
        assert len(set(own[[1, 4, 6]].tolist())) == 1
        assert own[[1, 4, 6]].max() < own[3]
