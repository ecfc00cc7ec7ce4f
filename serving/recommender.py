"""The one object both edges call: from a request to a ranked list."""

from collections.abc import Callable
from datetime import UTC, datetime

from feature_repo.online_features import OnlineFeatures
from serving.catalogue import Catalogue
from serving.live_model import ModelHolder
from serving.requests import (
    Recommendation,
    RecommendRequest,
    SimilarRequest,
    TrendingRequest,
)
from serving.settings import ServingSettings
from serving.sources.trending import TrendingSource


class Recommender:
    """Answers requests from many threads. Every list is made by one `LiveModel`."""

    def __init__(
        self,
        holder: ModelHolder,
        catalogue: Catalogue,
        online: OnlineFeatures,
        trending: TrendingSource,
        settings: ServingSettings | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        raise NotImplementedError

    def recommend(self, request: RecommendRequest) -> Recommendation:
        """Return the best items for a user or a session; an unknown user gets what trends.

        Raises `InvalidArgumentError` for a filter that is no filter.
        """
        raise NotImplementedError

    def similar(self, request: SimilarRequest) -> Recommendation:
        """Return the items nearest to one. Raises `UnknownItemError`."""
        raise NotImplementedError

    def trending(self, request: TrendingRequest) -> Recommendation:
        """Return what is acted on most at present, filled up with the newest items."""
        raise NotImplementedError
