"""The trainings of a replay: each is a real refresh, on what was known at its moment."""

import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl
import structlog

from feature_repo.offline_features import OfflineFeatures
from feature_repo.schema import Item
from serving.bundle import current_bundle, set_current
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.ranking.service_settings import ServiceSettings
from trainer.refresh.bundle_versions import prune
from trainer.refresh.inputs import RefreshInputs
from trainer.refresh.refresh import refresh
from trainer.refresh.resuming import NoCheckpoint
from trainer.refresh.steps import TrainingSteps
from trainer.settings import TrainingSettings


class RefreshTrainer:
    """Refreshes from the bundle before, or from nothing each time.

    folder: for bundles and features. first: the bundle that serves when the replay begins.
    service: what lists are made by in the replay.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        folder: Path,
        first: Path,
        texts: TextEmbeddingCache,
        service: ServiceSettings,
        *,
        warm: bool,
    ) -> None:
        warm_start = settings.warm_start.model_copy(update={"enabled": warm})
        self._settings = settings.model_copy(update={"warm_start": warm_start})
        self._bundles = folder / "bundles"
        self._features = OfflineFeatures(folder / "features")
        self._texts = texts
        self._service = service
        self._logger = structlog.get_logger(__name__)
        shutil.copytree(first, self._bundles / first.name)
        set_current(self._bundles, first.name)

    def __call__(self, events: pl.DataFrame, items: Sequence[Item], now: datetime) -> Path:
        """Return the folder of a bundle that was trained on `events` and `items`.

        The bundle is deleted at the training after the next: until then it may serve.
        """
        inputs = RefreshInputs(
            items=items,
            settings=self._settings,
            bundles=self._bundles,
            current=current_bundle(self._bundles),
            features=self._features,
            text_cache=self._texts,
            now=now,
            service=self._service,
        )
        done = refresh(events, inputs, TrainingSteps(inputs), NoCheckpoint())
        prune(self._bundles, keep=1)
        self._logger.info("replay_refreshed", at=now.isoformat(), start=done.start)
        return done.bundle
