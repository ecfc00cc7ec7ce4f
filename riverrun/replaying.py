"""Replays a period with a model that was trained on its past, and renews it where asked to."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from riverrun.errors import UserError
from riverrun.evaluating import Listening
from riverrun.replay.questions import Moment, Period
from riverrun.replay.refreshed import COLD, WARM, replay_refreshed
from riverrun.replay.replay import replay
from riverrun.replay.replayed_period import ReplayedPeriod
from riverrun.replay.running import ReplayResult, Run, ShopMaker
from riverrun.replay.training import RefreshTrainer, ReplayTraining, bundle_before
from riverrun.settings import Settings
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.training_input_error import TrainingInputError

Replaying = Callable[[int], AbstractContextManager[Callable[[Moment], None]]]
"""Takes the number of events to replay; gives what hears of each moment that was replayed."""


@dataclass(frozen=True)
class Renewal:
    """That the model is renewed as well, each time from the one before.

    every: from one refresh to the next. cold: also from nothing each time, to compare.
    """

    every: timedelta
    cold: bool

    @property
    def starts(self) -> Sequence[str]:
        """What refreshes begin from."""
        return (WARM, COLD) if self.cold else (WARM,)


def replay_period(
    replayed: ReplayedPeriod,
    bundle: Path | None,
    renewal: Renewal | None,
    settings: Settings,
    *,
    listening: Listening,
    replaying: Replaying,
) -> ReplayResult:
    """Ask before every event of the period, then learn from it; Ctrl-C ends it.

    bundle: trained before the period; None trains one on its past.

    Raises `UserError` where the bundle has learned from the period, or nothing can be trained on.
    """
    period, result = replayed.period, ReplayResult()
    try:
        with (
            closing(TextEmbeddingCache(settings.text_embeddings)) as cache,
            TemporaryDirectory(prefix="riverrun-replay-") as name,
        ):
            folder = Path(name)
            training = ReplayTraining(replayed.training, replayed.shop.service_settings, cache)
            path = bundle or _trained_on_past(training, period, folder / "training", listening)
            opened = bundle_before(period, path)
            maker = ShopMaker(opened, replayed.shop, folder / "shops", cache)
            with replaying(period.num_events) as on_moment:
                run = Run(period, result, on_moment)
                if renewal is None:
                    replay(run, maker)
                else:
                    trainers = {
                        start: RefreshTrainer(
                            training, folder / start, opened.path, warm=start == WARM
                        )
                        for start in renewal.starts
                    }
                    replay_refreshed(run, maker, every=renewal.every, trainers=trainers)
    except KeyboardInterrupt:
        result.interrupted = True
    return result


def _trained_on_past(
    training: ReplayTraining, period: Period, folder: Path, listening: Listening
) -> Path:
    with listening() as listener:
        try:
            return training.on_past(period, folder, listener)
        except TrainingInputError as error:
            raise UserError(f"cannot train on the past: {error}") from error
