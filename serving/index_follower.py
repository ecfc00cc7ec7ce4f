"""Applies the item changelog to the live model and the catalogue."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
import structlog

from feature_repo.event_log import ITEM_EMBEDDINGS, EventLog, LogConsumer, LogRecord
from serving.background import BackgroundThread
from serving.catalogue import Catalogue
from serving.item_changelog import (
    ChangelogError,
    ItemChange,
    ItemDeletion,
    ItemUpsert,
    decode_change,
)
from serving.live_model import LiveModel, ModelHolder

BATCH = 256
POLL_SECONDS = 0.25
RETRY_SECONDS = 1.0


class IndexFollower(BackgroundThread):
    """Reads the compacted changelog from its start, then follows it, in a thread of its own.

    An embedding of another vector space than the model's is made again here, from the item.
    """

    def __init__(
        self,
        log: EventLog,
        holder: ModelHolder,
        catalogue: Catalogue,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__("index-follower")
        self._log = log
        self._holder = holder
        self._catalogue = catalogue
        self._clock = clock
        self._caught_up = threading.Event()
        self._logger = structlog.get_logger(__name__)
        self.last_error: str | None = None

    @property
    def caught_up(self) -> bool:
        """Whether the end of the changelog has been reached since the start."""
        return self._caught_up.is_set()

    def wait_until_caught_up(self, timeout: float) -> bool:
        """Wait for `caught_up`; return it."""
        return self._caught_up.wait(timeout)

    def apply(self, records: Sequence[LogRecord]) -> None:
        """Apply records in order; what cannot be read is logged and left out."""
        changes: dict[str, ItemChange] = {}
        for record in records:
            try:
                change = decode_change(record)
            except ChangelogError as error:
                self._logger.error("item_change_refused", reason=str(error))
                continue
            changes[change.item_id] = change
        upserts = [change for change in changes.values() if isinstance(change, ItemUpsert)]
        deletions = [key for key, change in changes.items() if isinstance(change, ItemDeletion)]
        with self._holder.changing:
            # The vector first: what the filters know can then be retrieved.
            self._upsert(self._holder.current, upserts)
            self._catalogue.upsert([change.item for change in upserts])
            # The catalogue first: what is gone must not be shown.
            self._catalogue.delete(deletions)
            self._holder.current.delete_items(deletions)

    def _upsert(self, model: LiveModel, upserts: Sequence[ItemUpsert]) -> None:
        usable = [change for change in upserts if _fits(change, model)]
        if usable:
            embeddings = np.stack([change.embedding for change in usable])
            model.upsert_items([change.item for change in usable], embeddings)
        foreign = [
            change.item
            for change in upserts
            if not _fits(change, model) and not self._is_in(model, change)
        ]
        if foreign:
            model.upsert_items(foreign, model.encoder.encode_candidates(foreign, self._clock()))

    def _is_in(self, model: LiveModel, change: ItemUpsert) -> bool:
        """Whether the bundle was made for this very item already, so that nothing is to do."""
        _, found = model.embeddings_of([change.item_id])
        return bool(found[0]) and self._catalogue.get(change.item_id) == change.item

    def _run(self) -> None:
        while not self._stop.is_set():
            consumer: LogConsumer | None = None
            try:
                consumer = self._log.consumer(None, [ITEM_EMBEDDINGS])
                self._follow(consumer)
            except Exception as error:  # A follower that dies would serve old items for ever.
                self.last_error = f"{type(error).__name__}: {error}"
                self._logger.exception("index_follower_failed")
                # From the start again: applying a change twice is harmless, losing one is not.
                self._stop.wait(RETRY_SECONDS)
            finally:
                if consumer is not None:
                    consumer.close()

    def _follow(self, consumer: LogConsumer) -> None:
        while not self._stop.is_set():
            timeout = POLL_SECONDS if self._caught_up.is_set() else 0.0
            records = consumer.poll(BATCH, timeout)
            if records:
                self.apply(records)
            else:
                self._caught_up.set()
                self.last_error = None


def _fits(change: ItemUpsert, model: LiveModel) -> bool:
    return change.bundle_version == model.bundle_version and change.embedding.shape == (
        model.table.dimension,
    )
