"""The trainings of a replay: each is a real refresh, on what was known at its moment."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import polars as pl
import structlog

from feature_repo.offline_features import OfflineFeatures
from feature_repo.schema import Item
from riverrun.errors import UserError
from riverrun.replay.questions import Period
from serving.bundle import Bundle, BundleError
from serving.published_bundles import current_bundle, set_current
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.bundle_scorer import load_to_ask
from trainer.listener import Listener
from trainer.ranking.service_settings import ServiceSettings
from trainer.refresh.bundle_versions import prune
from trainer.refresh.inputs import RefreshInputs
from trainer.refresh.refresh import RefreshOutcome, refresh
from trainer.refresh.resuming import NoCheckpoint
from trainer.refresh.steps import TrainingSteps
from trainer.settings import TrainingSettings


@dataclass(frozen=True, slots=True)
class ReplayTraining:
    """How the trainings of a replay are made. service: what its lists are made by."""

    settings: TrainingSettings
    service: ServiceSettings
    texts: TextEmbeddingCache

    def on_past(self, period: Period, folder: Path, listener: Listener) -> Path:
        """Return the folder of a bundle that was trained on nothing but the period's past.

        Raises `TrainingInputError` where there is nothing to learn from.
        """
        return self.train(folder, period.past, period.known_items, period.begins, listener).bundle

    def train(
        self,
        folder: Path,
        events: pl.DataFrame,
        items: Sequence[Item],
        now: datetime,
        listener: Listener | None = None,
    ) -> RefreshOutcome:
        """Refresh the bundle that serves in `folder`; train from nothing where none does.

        folder: for bundles and features.
        """
        inputs = RefreshInputs(
            items=items,
            settings=self.settings,
            bundles=bundles_in(folder),
            current=current_bundle(bundles_in(folder)),
            features=OfflineFeatures(folder / "features"),
            text_cache=self.texts,
            now=now,
            service=self.service,
        )
        return refresh(events, inputs, TrainingSteps(inputs, listener), NoCheckpoint())


class RefreshTrainer:
    """Refreshes from the bundle before, or from nothing each time.

    folder: for bundles and features. first: the bundle that serves when the replay begins.
    """

    def __init__(self, training: ReplayTraining, folder: Path, first: Path, *, warm: bool) -> None:
        settings = training.settings
        warm_start = settings.warm_start.model_copy(update={"enabled": warm})
        settings = settings.model_copy(update={"warm_start": warm_start})
        self._training = replace(training, settings=settings)
        self._folder = folder
        self._logger = structlog.get_logger(__name__)
        shutil.copytree(first, bundles_in(folder) / first.name)
        set_current(bundles_in(folder), first.name)

    def __call__(self, events: pl.DataFrame, items: Sequence[Item], now: datetime) -> Path:
        """Return the folder of a bundle that was trained on `events` and `items`.

        The bundle is deleted at the training after the next: until then it may serve.
        """
        done = self._training.train(self._folder, events, items, now)
        prune(bundles_in(self._folder), keep=1)
        self._logger.info("replay_refreshed", at=now.isoformat(), start=done.start)
        return done.bundle


def bundles_in(folder: Path) -> Path:
    """Return where the bundles of a training's folder are."""
    return folder / "bundles"


def bundle_before(period: Period, path: Path) -> Bundle:
    """Return the bundle at `path`.

    Raises `UserError` where it has learned from the period, or cannot be read.
    """
    try:
        opened = load_to_ask(path)
    except BundleError as error:
        raise UserError(str(error)) from error
    end, known_until = opened.manifest.data_window.end, period.known_until
    if end is None or end > known_until:
        raise UserError(
            f"--bundle {path} must be trained on events until {known_until:%Y-%m-%d %H:%M} UTC, "
            f"and no later ones. Received: one trained until {end}."
        )
    return opened
