"""Whether a training goes on from the bundle that serves, or starts from nothing."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from feature_repo.times import microseconds
from serving.bundle import BundleError, current_bundle
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.warm_start import ColdStartError, WarmStart


@dataclass(frozen=True, slots=True)
class Start:
    """How a training begins. warm: what it goes on from. reason: why it starts from nothing."""

    warm: WarmStart | None
    reason: str = ""

    def __str__(self) -> str:
        return f"warm start from {self.version}" if self.warm else f"cold start: {self.reason}"

    @property
    def version(self) -> str | None:
        """The bundle that it goes on from."""
        return self.warm.version if self.warm else None

    def settings(self, settings: TrainingSettings) -> TrainingSettings:
        """Return the settings of a training that begins so."""
        if self.warm is None:
            return settings
        warm = settings.warm_start
        update = {"epochs": warm.epochs, "learning_rate": warm.learning_rate}
        return settings.model_copy(update=update)

    def since(self, settings: TrainingSettings, end: datetime) -> datetime | None:
        """Return from when on events until `end` are learned from; None for all of them."""
        if self.warm is None or not settings.warm_start.days:
            return None
        return end - timedelta(days=settings.warm_start.days)


def choose_start(bundles: Path, settings: TrainingSettings, interactions: Interactions) -> Start:
    """Return the start from the bundle that serves, where one does and it fits."""
    if not settings.warm_start.enabled:
        return Start(None, "a warm one is not enabled")
    try:
        path = current_bundle(bundles)
    except BundleError as error:
        return Start(None, str(error))
    if path is None:
        return Start(None, "no bundle serves yet")
    start = start_from(path, settings)
    if start.warm is not None and settings.holdout_share:
        if settings.holdout == "last_events":
            return Start(None, f"{path.name} has seen the last events that it would be judged by")
        acted = _acted_since(start.warm.end, interactions)
        if acted < settings.warm_start.min_users:
            return Start(
                None,
                f"{acted} known users acted since the newest event of {path.name}, and "
                f"warm_start.min_users asks for {settings.warm_start.min_users}",
            )
    return start


def start_from(path: Path, settings: TrainingSettings) -> Start:
    """Return the start from the bundle at `path`, or the reason why it does not fit."""
    try:
        return Start(WarmStart.read(path, settings))
    except ColdStartError as error:
        return Start(None, str(error))


def _acted_since(end: datetime | None, interactions: Interactions) -> int:
    """Return how many users acted both until `end` and after it."""
    moment = 0 if end is None else microseconds(end)
    first = interactions.timestamp[interactions.first_event[:-1]]
    last = interactions.timestamp[interactions.first_event[1:] - 1]
    return int(np.count_nonzero((first <= moment) & (moment < last)))
