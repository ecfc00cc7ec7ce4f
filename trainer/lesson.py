"""A training as every worker that takes part in it needs to know it."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from trainer.cluster import from_chief, trains_together
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.warm_start import WarmStart
from trainer.windows import Windows


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a two-tower learns from, and for how long.

    interactions: what happened. windows: the examples, as
    `trainer.history_examples.joined_windows` makes them. settings: the model and its training.
    text_embeddings: float32 [num_items, text_dimension] of the catalogue's texts; None where the
    text tower is trained. warm: the weights to start from; None begins from nothing. stop_after:
    stop after so many epochs of the schedule of `settings.epochs`.
    """

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
