"""Item statistics for a server beside workers elsewhere, read from the online store."""

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import structlog

from feature_repo.online_features import CoVisitation, FeatureReader, ItemStatistics
from serving.background import BackgroundThread
from serving.catalogue import Catalogue
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.trending import TrendingSource

BATCH = 50
"""So many items are read at once: until then requests wait for the store's reading connection."""

READING = "what is popular is being read"
AWAY = "the online store does not answer: what is popular is not read"

RETRY_SECONDS = 1.0
"""The pause between two reads until all has been read once: nobody is served meanwhile."""

SHARE = 0.1
"""The share of a core that reading takes at most, once all has been read. Decoding holds Python's
lock: at full speed, requests would wait for it again and again during the ten seconds that 100,000
items take."""


class StatisticsReader(BackgroundThread):
    """Reads the statistics of every item into the sources, again and again, in a thread of its own.

    The first time it reads as fast as it can: until then nobody knows what is popular.

    caught_up: whether the catalogue lists all items there are; a read before that is not complete.
    """

    def __init__(
        self,
        online: FeatureReader,
        catalogue: Catalogue,
        trending: TrendingSource,
        co_visitation: CoVisitationSource,
        every_seconds: float = 30.0,
        caught_up: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__("statistics-reader")
        self._online = online
        self._catalogue = catalogue
        self._trending = trending
        self._co_visitation = co_visitation
        self._every_seconds = every_seconds
        self._caught_up = caught_up
        self._whole = threading.Event()
        self._failing = False
        self._waits = True
        self._logger = structlog.get_logger(__name__)

    def not_ready(self) -> Sequence[str]:
        """Say why lists cannot show what is popular yet.

        A store that has failed is no reason: it would make every replica unready at once.
        """
        return [READING] if self._waits and not self._whole.is_set() else []

    def degraded(self) -> Sequence[str]:
        """Say what lists do without at present, though they are answered."""
        if self._failing:
            return [AWAY]
        return [] if self._waits or self._whole.is_set() else [READING]

    def read(self) -> None:
        """Read the statistics and neighbours of the whole catalogue once."""
        whole = self._caught_up()  # Asked before `listed` is read: what comes between is not in it.
        listed = np.flatnonzero(self._catalogue.view().listed)
        for offset in range(0, len(listed), BATCH):
            start = time.thread_time()
            ids = self._catalogue.rows.ids_of(listed[offset : offset + BATCH]).tolist()
            found = self._online.get(ItemStatistics, ids)
            self._trending.update([each for each in found if each is not None])
            neighbours = self._online.get(CoVisitation, ids)
            self._co_visitation.update([each for each in neighbours if each is not None])
            worked = time.thread_time() - start
            self._answered()
            if self._stop.wait(worked * (1 / SHARE - 1) if self._whole.is_set() else 0.0):
                return
        if whole:
            self._whole.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.read()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
                self._failed(error)
            self._stop.wait(self._every_seconds if self._whole.is_set() else RETRY_SECONDS)

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            self._logger.error("statistics_not_read", reason=f"{type(error).__name__}: {error}")
        self._failing, self._waits = True, False

    def _answered(self) -> None:
        if self._failing:
            self._logger.info("statistics_read_again")
        self._failing = False
