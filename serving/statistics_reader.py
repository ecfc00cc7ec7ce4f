"""Item statistics for a server whose worker runs elsewhere, read from the online store."""

import structlog

from feature_repo.online_features import CoVisitation, ItemStatistics, OnlineFeatures
from serving.background import BackgroundThread
from serving.catalogue import Catalogue
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.trending import TrendingSource

BATCH = 500
PAUSE_SECONDS = 0.02


class StatisticsReader(BackgroundThread):
    """Reads what is known of every item into the sources, again and again, in a thread."""

    def __init__(
        self,
        online: OnlineFeatures,
        catalogue: Catalogue,
        trending: TrendingSource,
        co_visitation: CoVisitationSource,
        every_seconds: float = 30.0,
    ) -> None:
        super().__init__("statistics-reader")
        self._online = online
        self._catalogue = catalogue
        self._trending = trending
        self._co_visitation = co_visitation
        self._every_seconds = every_seconds
        self._logger = structlog.get_logger(__name__)

    def read(self) -> None:
        """Read the statistics and neighbours of the whole catalogue once."""
        for offset in range(0, len(self._catalogue), BATCH):
            ids = [item.item_id for item in self._catalogue.page(offset, BATCH)]
            found = self._online.get(ItemStatistics, ids)
            self._trending.update([each for each in found if each is not None])
            neighbours = self._online.get(CoVisitation, ids)
            self._co_visitation.update([each for each in neighbours if each is not None])
            # Requests share the processor, and the store's reading connection.
            if self._stop.wait(PAUSE_SECONDS):
                return

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.read()
            except Exception:
                self._logger.exception("statistics_not_read")
            self._stop.wait(self._every_seconds)
