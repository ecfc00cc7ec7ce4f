"""From interactions to a trained two-tower model."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.candidate_features import CandidateFeatures, candidate_features
from feature_repo.times import microseconds
from trainer.candidate_tower import CandidateVocabulary, candidate_columns
from trainer.cluster import chiefs_state
from trainer.dataset import epoch_dataset, num_steps
from trainer.epoch_checkpoints import EpochCheckpoints, training_fingerprint
from trainer.finite_weights import has_finite_weights
from trainer.import_keras import keras
from trainer.interactions import Interactions
from trainer.lesson import Lesson
from trainer.settings import TrainingSettings
from trainer.strategy import open_strategy
from trainer.text_tower import CachedTexts, TextTower, TunedTexts
from trainer.trained_model import TrainedModel
from trainer.training_input_error import TrainingInputError
from trainer.two_tower_model import TwoTowerModel, two_tower_model
from trainer.warm_start import carry_over
from trainer.windows import label_shares, label_weights


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is. `loss` is the mean of the epoch so far."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True, slots=True)
class TrainingHooks:
    """Where a training keeps its state, and whom it tells how far it is.

    checkpoints: a folder to save the state to after every epoch and to resume from. States of
    another model, of other events or of another start are removed from it. on_step: called after
    every step. on_epoch: called after every epoch with the number of epochs done and the model.
    """

    checkpoints: Path | None = None
    on_step: Callable[[Progress], None] = lambda progress: None
    on_epoch: Callable[[int, TrainedModel], None] = lambda epoch, model: None


NO_HOOKS = TrainingHooks()


def train(lesson: Lesson, text_tower: TextTower, hooks: TrainingHooks = NO_HOOKS) -> TrainedModel:
    """Train the two towers.

    text_tower: reads text; its LoRA weights are trained where the settings ask for it.

    Raises:
        TrainingInputError: no user acted at two different moments, or what they did weighs nothing:
            there is nothing to learn. Or the loss, or a weight, is not a number any more.
        ColdStartError: the lesson's `warm` does not fit.
    """
    interactions, windows, settings = lesson.interactions, lesson.windows, lesson.settings
    if len(windows) == 0:
        raise TrainingInputError(
            "no user acted at two different moments: there is nothing to learn from."
        )
    if not label_shares(interactions, windows, settings).any():
        raise TrainingInputError(
            "all that could be learned from is of types to which `training.event_type_weights` "
            f"gives 0. Received: {settings.event_type_weights}."
        )
    keras.utils.set_random_seed(settings.seed)
    steps = num_steps(windows, settings)
    with _precision(settings), open_strategy(settings).scope():
        model = _build_model(lesson, text_tower)
        schedule = keras.optimizers.schedules.CosineDecay(
            settings.learning_rate, settings.epochs * steps, alpha=0.05
        )
        # Where there is a GPU, Keras would let XLA compile every shape that a batch may have.
        model.compile(keras.optimizers.Adam(schedule, clipnorm=5.0), jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    kept = None
    if hooks.checkpoints is not None:
        vocabulary = model.candidate_tower.vocabulary
        version = lesson.warm.version if lesson.warm else None
        fingerprint = training_fingerprint(settings, interactions, vocabulary, version)
        kept = EpochCheckpoints(hooks.checkpoints, fingerprint, model)
    epochs_done = chiefs_state(model, settings, kept.epochs_done if kept else 0)
    losses: list[float] = []
    seconds: list[float] = []

    def trained() -> TrainedModel:
        return TrainedModel(
            settings, interactions, text_tower, model, tuple(losses), tuple(seconds)
        )

    for epoch in range(epochs_done, lesson.stop_after or settings.epochs):
        callbacks = _callbacks(epoch, steps, settings, hooks.on_step)
        started = time.monotonic()
        history = model.fit(
            epoch_dataset(interactions, windows, settings, epoch),
            initial_epoch=epoch,
            epochs=epoch + 1,
            callbacks=callbacks,
            verbose=0,
            shuffle=False,
        )
        seconds.append(time.monotonic() - started)
        losses.append(float(history.history["loss"][-1]))
        if not np.isfinite(losses[-1]):
            raise TrainingInputError(
                f"the loss of epoch {epoch + 1} is {losses[-1]}: lower `training.learning_rate`."
            )
        # The loss is of before the last update.
        if not has_finite_weights(model):
            raise TrainingInputError(
                f"the weights after epoch {epoch + 1} are not numbers any more: lower "
                f"`training.learning_rate`. Received: {settings.learning_rate}."
            )
        hooks.on_epoch(epoch + 1, trained())
        # Saved last, so that `on_epoch` has heard of every epoch that a resumed training skips.
        if kept is not None:
            kept.save(epoch + 1)
    return trained()


@contextmanager
def _precision(settings: TrainingSettings) -> Iterator[None]:
    """Let only the layers that are made within the block compute in `settings.precision`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(settings.precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _build_model(lesson: Lesson, text_tower: TextTower) -> TwoTowerModel:
    interactions, settings, warm = lesson.interactions, lesson.settings, lesson.warm
    features = candidate_features(interactions.items, interactions.end)
    # Other boundaries would change the meaning of the buckets that the start has weights for.
    vocabulary = CandidateVocabulary.of(
        features, warm.vocabulary.price_boundaries if warm else None
    )
    # An event counts as much as it would as a label: so the loss would learn popularity. Users'
    # first events are no labels, but count too: without them lists were worse (validation month).
    weights = label_weights(interactions, settings, np.arange(len(interactions.item)))
    recent_counts = np.bincount(interactions.item, weights, minlength=len(interactions.items))
    log_popularity = np.log(recent_counts + 0.1)
    model = two_tower_model(
        settings,
        vocabulary,
        text_tower.dimension,
        len(interactions.event_types),
        catalogue={
            **candidate_columns(vocabulary, features),
            "published_at": _published_at(interactions),
        },
        texts=_text_lookup(settings, text_tower, features, lesson.text_embeddings),
        popularity=label_shares(interactions, lesson.windows, settings),
        popularity_coordinate=(log_popularity - log_popularity.mean()).astype(np.float32),
    )
    if warm is not None:
        carry_over(warm, model, interactions.event_types)
    return model


def _published_at(interactions: Interactions) -> npt.NDArray[np.int64]:
    """Return int64 [num_items], in microseconds; 0 where unknown."""
    published = [
        0 if item.published_at is None else microseconds(item.published_at)
        for item in interactions.items
    ]
    return np.array(published, dtype=np.int64)


def _text_lookup(
    settings: TrainingSettings,
    text_tower: TextTower,
    features: CandidateFeatures,
    text_embeddings: npt.NDArray[np.float32] | None,
) -> CachedTexts | TunedTexts:
    if settings.text.lora_rank:
        return TunedTexts(text_tower, features.text.tolist())
    assert text_embeddings is not None, "a frozen text tower's are computed once"
    return CachedTexts(text_embeddings)


def _callbacks(
    epoch: int, steps: int, settings: TrainingSettings, on_step: Callable[[Progress], None]
) -> list[Any]:
    callbacks: list[Any] = [_StepCallback(epoch, steps, settings.epochs, on_step)]
    if settings.tensorboard is not None:
        callbacks.append(keras.callbacks.TensorBoard(str(settings.tensorboard), write_graph=False))
    return callbacks


class _StepCallback(keras.callbacks.Callback):
    def __init__(
        self, epoch: int, steps: int, epochs: int, on_step: Callable[[Progress], None]
    ) -> None:
        super().__init__()
        self._epoch, self._steps, self._epochs, self._on_step = epoch, steps, epochs, on_step

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        loss = float((logs or {}).get("loss", np.nan))
        self._on_step(Progress(self._epoch + 1, self._epochs, batch + 1, self._steps, loss))
