"""Follows `bundles/CURRENT`: warms a new bundle, then swaps it in between two requests."""

import gc
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import structlog

from feature_repo.schema import Item
from serving.background import BackgroundThread
from serving.bundle import BundleError
from serving.bundle_loading import load_bundle
from serving.catalogue import Catalogue
from serving.live_model import LiveModel, ModelHolder
from serving.published_bundles import CURRENT, current_bundle, require_current
from serving.settings import ServingSettings
from serving.text_embedding_cache import TextEmbeddingCache

NICENESS = 19
"""Of the thread that loads a bundle: the most there is, as it wants Python's lock all the time.

The lower its priority, the less often it takes the lock in between two steps of a request.
"""


class BundleWatcher(BackgroundThread):
    """Serves what `CURRENT` names. A bundle that must not be served leaves the old one serving.

    last_error: why the newest bundle was refused, or None. It is tried again only after
    `CURRENT` changes. refusal: the same in words that anybody may see: version and reason, without
    paths of this machine.
    """

    def __init__(
        self,
        bundles: Path,
        holder: ModelHolder,
        catalogue: Catalogue,
        settings: ServingSettings,
        text_cache: TextEmbeddingCache,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__("bundle-watcher")
        self._bundles = bundles
        self._holder = holder
        self._catalogue = catalogue
        self._settings = settings
        self._text_cache = text_cache
        self._clock = clock
        self._refused: str | None = None
        self._former: LiveModel | None = None
        self._logger = structlog.get_logger(__name__)
        self.last_error: str | None = None
        self.refusal: str | None = None

    def start(self) -> None:
        """Begin to watch, unless `reload_seconds` is 0."""
        if self._settings.reload_seconds > 0:
            super().start()

    def check(self) -> bool:
        """Look at `CURRENT` once; return whether another bundle serves now."""
        try:
            path = current_bundle(self._bundles)
            version = path.name if path else None
            if version is not None and version == self._holder.current.bundle_version:
                self._refused = self.last_error = self.refusal = None
            if path is None or version in (self._holder.current.bundle_version, self._refused):
                return False
            with ThreadPoolExecutor(1, "bundle-loader", _give_way) as loader:
                model, snapshot, prepared = loader.submit(self._prepare, path).result()
        except BundleError as error:
            self._refuse(error, error.path.name)
            return False
        # Held until `release`: else the thread of the last request with it would take it apart.
        self._former = self._holder.current
        self._swap(model, snapshot, prepared)
        self._refused = self.last_error = self.refusal = None
        self._logger.info("bundle_swapped", bundle_version=model.bundle_version)
        _say_what_has_no_effect(model, self._settings)
        return True

    def _prepare(self, path: Path) -> tuple[LiveModel, list[Item], int]:
        """Return the warm model, its snapshot, and the version of the catalogue it reflects."""
        self._refused = path.name
        bundle = load_bundle(path)
        snapshot = list(bundle.items())
        model = LiveModel.create(bundle, self._catalogue.rows, self._settings, self._text_cache)
        known = {item.item_id: item for item in snapshot}
        # Items that the changelog added, changed or deleted are newer than the snapshot.
        version = self._catalogue.view().version
        upserted, deleted = self._catalogue.changed_since(0)
        self._encode(model, [item for item in upserted if known.get(item.item_id) != item])
        model.index.delete(deleted)
        return model, snapshot, version

    def _swap(self, model: LiveModel, snapshot: list[Item], version: int) -> None:
        with self._holder.changing:
            upserted, deleted = self._catalogue.changed_since(version)
            self._encode(model, upserted)
            model.index.delete(deleted)
            # Last: these hold what a worker has folded in, which neither bundle nor encoder knows.
            waiting = self._holder.waiting.take(model.bundle_version, model.table.dimension)
            model.index.upsert(*waiting)
            self._catalogue.load_snapshot(snapshot)
            self._holder.swap(model)

    def _encode(self, model: LiveModel, items: list[Item]) -> None:
        if items:
            embeddings = model.encoder.encode_candidates(items, self._clock())
            model.index.upsert([item.item_id for item in items], embeddings)

    def _refuse(self, error: Exception, file: str) -> None:
        message = str(error)
        if message != self.last_error:
            self._logger.error("bundle_refused", file=file, reason=message)
        self.last_error = message
        if isinstance(error, BundleError):
            self.refusal = f"{error.path}: {error.reason}".replace(f"{self._bundles}{os.sep}", "")
        else:
            self.refusal = f"{self._refused or CURRENT}: {type(error).__name__}; the log says more."

    def release(self) -> None:
        """Free the model that served before the last swap, once no request holds it any more.

        A model is hundreds of megabytes of objects in reference cycles. A process whose memory has
        settled collects cycles too seldom to free one model before the next ones come.
        """
        if self._former is not None:
            self._former = None
            gc.collect()

    def _run(self) -> None:
        while not self._stop.wait(self._settings.reload_seconds):
            try:
                self.release()
                self.check()
            except Exception as error:  # noqa: BLE001 - whatever is wrong, the old one serves
                self._refuse(error, "")


def _give_way() -> None:
    """Lower the priority of the calling thread alone, as Linux keeps one for each thread."""
    thread = threading.get_native_id()
    niceness = os.getpriority(os.PRIO_PROCESS, thread) + NICENESS
    # Only in a thread that ends soon: without privileges a priority cannot be raised again.
    os.setpriority(os.PRIO_PROCESS, thread, niceness)


def open_current(
    bundles: Path,
    catalogue: Catalogue,
    settings: ServingSettings | None = None,
    text_cache: TextEmbeddingCache | None = None,
) -> ModelHolder:
    """Load the bundle that `CURRENT` names and fill the catalogue from its snapshot.

    Raises `BundleError` where there is none, or where it must not be served.
    """
    bundle = load_bundle(require_current(bundles))
    catalogue.load_snapshot(bundle.items())
    settings = settings or ServingSettings()
    model = LiveModel.create(bundle, catalogue.rows, settings, text_cache)
    _say_what_has_no_effect(model, settings)
    return ModelHolder(model)


def _say_what_has_no_effect(model: LiveModel, settings: ServingSettings) -> None:
    ranking = settings.ranking
    ranker = model.ranking.ranker if model.ranking and ranking.learned else None
    ignored = {}
    if ranking.weights is not None and ranker:
        ignored["weights"] = (
            "The bundle's ranker orders lists; with `learned = false` the weights do."
        )
    objectives = ranker.objectives if ranker else {}
    if unknown := sorted(ranking.event_type_weights.keys() - objectives.keys()):
        ignored["event_type_weights"] = (
            f"The ranker weighs {', '.join(objectives) or 'no types of event'}, and not "
            f"{', '.join(unknown)}."
            if ranker
            else "No ranker orders the lists."
        )
    for setting, reason in ignored.items():
        structlog.get_logger(__name__).warning(
            "setting_has_no_effect",
            setting=f"serving.ranking.{setting}",
            bundle_version=model.bundle_version,
            reason=reason,
        )
