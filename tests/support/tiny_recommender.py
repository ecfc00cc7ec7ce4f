"""A recommender over a tiny bundle: features in memory, and a clock that stands still."""

from dataclasses import replace
from datetime import datetime, timedelta

from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.in_memory_online_features import InMemoryOnlineFeatures
from feature_repo.times import microseconds
from serving.catalogue import Catalogue
from serving.live_model import ModelHolder
from serving.recommender import Recommender
from serving.requests import RecommendRequest
from serving.settings import ServingSettings
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.trending import TrendingSource
from tests.support.tiny_bundle import CREATED_AT

NOW = CREATED_AT + timedelta(hours=1)


def event(item_id: str, age: int = 60, event_type: str = "view") -> HistoryEvent:
    """An event so many seconds ago."""
    moment = microseconds(NOW - timedelta(seconds=age))
    return HistoryEvent(moment, f"{item_id}-{age}", item_id, event_type, 0.0)


# i0, i5, ... are shoes; i1, i6, ... are kettles.
SHOPPER = UserHistory("shopper", (event("i0", 90), event("i5", 60, "purchase")))
LOST = UserHistory("lost", (event("gone"),))


class Shop:
    """SHOPPER is known; of LOST nothing is that the catalogue still has."""

    def __init__(
        self, holder: ModelHolder, catalogue: Catalogue, settings: ServingSettings
    ) -> None:
        self.holder, self.catalogue = holder, catalogue
        self.online = InMemoryOnlineFeatures()
        self.online.push([SHOPPER, LOST])
        self.trending = TrendingSource(catalogue.rows, settings)
        self.co_visitation = CoVisitationSource(catalogue.rows, settings)
        self.recommender = self.recommender_with(settings)

    def recommender_with(self, settings: ServingSettings, at: datetime = NOW) -> Recommender:
        """The same shop with other settings, at a moment."""
        return Recommender(
            self.holder,
            self.catalogue,
            self.online,
            self.trending,
            self.co_visitation,
            settings,
            lambda: at,
        )

    def ids(self, user_id: str | None = "shopper", **changes: object) -> list[str]:
        """The list for a user."""
        request = replace(RecommendRequest("r", user_id), **changes)  # type: ignore[arg-type]
        return [item.item_id for item in self.recommender.recommend(request).items]
