"""A training as every worker that takes part in it needs to know it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.cluster import from_chief, other_workers, trains_together
from trainer.import_keras import keras
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.strategy import open_strategy
from trainer.text_tower import TextTower, load_text_tower
from trainer.train import Progress, train
from trainer.trained_model import TrainedModel
from trainer.warm_start import WarmStart
from trainer.windows import Windows


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a two-tower learns from, and for how long. The fields are arguments of `train`."""

    interactions: Interactions
    windows: Windows
    settings: TrainingSettings
    text_embeddings: npt.NDArray[np.float32] | None
    warm: WarmStart | None = None
    stop_after: int | None = None

    def hand_out(self) -> None:
        """Tell the followers, if there are any, to learn this too, from now on.

        Raises `WorkerLost`.
        """
        if trains_together(self.settings):
            # One worker alone writes to the folder of TensorBoard.
            settings = self.settings.model_copy(update={"tensorboard": None})
            from_chief(replace(self, settings=settings))

    def learned(
        self,
        text_tower: TextTower,
        *,
        checkpoints: Path | None = None,
        on_step: Callable[[Progress], None] = lambda progress: None,
        on_epoch: Callable[[int, TrainedModel], None] = lambda epoch, model: None,
    ) -> TrainedModel:
        """Return the trained model. Where workers train together, all of them must call this.

        text_tower: as it is before a training. Keywords are those of `trainer.train.train`.

        Raises what `train` raises, and `WorkerLost`.
        """
        settings = self.settings
        with other_workers():
            if settings.text.lora_rank:
                # A training must not begin with what an earlier one has taught the tower.
                keras.utils.set_random_seed(settings.seed)
                # Its LoRA weights are trained, so the strategy must have made them.
                with open_strategy(settings).scope():
                    text_tower = load_text_tower(settings.text)
            return train(
                self.interactions,
                self.windows,
                settings,
                text_tower,
                self.text_embeddings,
                warm=self.warm,
                checkpoints=checkpoints,
                stop_after=self.stop_after,
                on_step=on_step,
                on_epoch=on_epoch,
            )


def follow() -> None:
    """Learn whatever the chief hands out, until it calls `dismiss`.

    Raises what `Lesson.learned` raises.
    """
    while lesson := from_chief(None):
        lesson.learned(load_text_tower(lesson.settings.text))


def dismiss() -> None:
    """Let the followers end, as the chief that has nothing more to hand out."""
    from_chief(None)
