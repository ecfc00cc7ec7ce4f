"""Decides whether a training starts from the bundle that serves, or from nothing."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from feature_repo.times import INSTANT
from serving.bundle import BundleError
from serving.published_bundles import current_bundle
from trainer.held_out_splits import newest_cut
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.tasks import returning_users
from trainer.warm_start import ColdStartError, WarmStart


@dataclass(frozen=True, slots=True)
class Start:
    """How a training begins. warm: what it starts from. reason: why it starts from nothing."""

    warm: WarmStart | None = None
    reason: str = ""

    def __str__(self) -> str:
        return f"warm start from {self.version}" if self.warm else f"cold start: {self.reason}"

    @property
    def version(self) -> str | None:
        """The version of the bundle that it starts from."""
        return self.warm.version if self.warm else None

    @property
    def unseen_since(self) -> datetime | None:
        """The first moment after all events that the start has learned from; None if not known."""
        end = self.warm.end if self.warm else None
        return None if end is None else end + INSTANT

    def settings(self, settings: TrainingSettings) -> TrainingSettings:
        """Return the settings of a training with this start."""
        if self.warm is None:
            return settings
        warm = settings.warm_start
        update = {"epochs": warm.epochs, "learning_rate": warm.learning_rate}
        return settings.model_copy(update=update)

    def since(self, settings: TrainingSettings, end: datetime) -> datetime | None:
        """Return the time from which events until `end` are learned from; None for all of them."""
        if self.warm is None or not settings.warm_start.days:
            return None
        return end - timedelta(days=settings.warm_start.days)


FROM_NOTHING = Start()


def choose_start(bundles: Path, settings: TrainingSettings, interactions: Interactions) -> Start:
    """Return the start from the bundle that serves, or from nothing where none serves or fits."""
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
        asked = _can_be_asked(start, settings, interactions)
        if asked < settings.warm_start.min_users:
            return Start(
                None,
                f"{asked} known users acted on known items in the newest slice that {path.name} "
                f"has not seen, and warm_start.min_users asks for {settings.warm_start.min_users}",
            )
    return start


def start_from(path: Path, settings: TrainingSettings) -> Start:
    """Return the start from the bundle at `path`, or from nothing, with why it does not fit."""
    try:
        return Start(WarmStart.read(path, settings))
    except ColdStartError as error:
        return Start(None, str(error))


def _can_be_asked(start: Start, settings: TrainingSettings, interactions: Interactions) -> int:
    """Return how many users can be asked about what a judgement of the start holds out."""
    unseen = start.unseen_since
    if unseen is None:
        return 0
    cut = newest_cut(interactions, settings, unseen)
    return len(returning_users(interactions, cut, settings.weightless))
