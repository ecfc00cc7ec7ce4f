"""Reads of an online store that may stop answering, so that requests do not stop with it."""

import threading
import time
from collections.abc import Callable, Sequence

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from feature_repo.online_features import FeatureReader, RecordT
from serving.requests import FeaturesUnavailableError

PAUSE_SECONDS = 1.0
"""How long a store that has failed is left alone."""

REMEMBERED_SECONDS = 60.0
"""How long a failure is reported: without reads nothing notices that the store is back."""


class GuardedFeatures:
    """Implements `FeatureReader` over a store whose failures are logged and counted here.

    After a failure reads fail at once for a second; then one caller at a time tries whether the
    store answers again. An outage is logged when it begins and when it ends.
    """

    def __init__(
        self,
        online: FeatureReader,
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._online = online
        self._clock = clock
        self._failing = False
        self._trying = False
        self._failed_at = float("-inf")
        self._lock = threading.Lock()
        self._logger = structlog.get_logger(__name__)
        self._failures = Counter(
            "riverrun_users_not_read",
            "Requests whose user could not be read from the online store.",
            registry=registry,
        )
        up = Gauge(
            "riverrun_online_store_up",
            "Whether the online store answers those who ask, as of the last minute.",
            registry=registry,
        )
        up.set_function(lambda: not self.degraded())

    def degraded(self) -> Sequence[str]:
        """Say what lists do without at present, as far as the reads of the last minute tell."""
        if self._failing and self._clock() < self._failed_at + REMEMBERED_SECONDS:
            return ["the online store does not answer: users are served as unknown ones"]
        return []

    def get(self, view: type[RecordT], keys: Sequence[str]) -> list[RecordT | None]:
        """Return the record of each key, in order, or None.

        Raises `FeaturesUnavailableError` while the store does not answer.
        """
        trying = self._failing and self._may_try()
        if self._failing and not trying:
            self._failures.inc()
            raise FeaturesUnavailableError("the online store has just failed")
        try:
            records = self._online.get(view, keys)
        except Exception as error:
            self._failed(error)
            raise FeaturesUnavailableError("the online store does not answer") from error
        finally:
            if trying:
                self._trying = False
        if self._failing:
            self._recovered()
        return records

    def _may_try(self) -> bool:
        # Only one may try: a store that hangs would otherwise hold all threads that make lists.
        with self._lock:
            if self._trying or self._clock() < self._failed_at + PAUSE_SECONDS:
                return False
            self._trying = True
            return True

    def _failed(self, error: Exception) -> None:
        self._failures.inc()
        with self._lock:
            begins, self._failing = not self._failing, True
            self._failed_at = self._clock()
        if begins:
            self._logger.error("online_store_failed", exc_info=error)

    def _recovered(self) -> None:
        with self._lock:
            ends, self._failing = self._failing, False
        if ends:
            self._logger.info("online_store_answers")
