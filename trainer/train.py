"""From interactions to a trained two-tower model."""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import tensorflow as tf

from feature_repo.candidate_features import CandidateFeatures, candidate_features
from feature_repo.schema import Item
from feature_repo.times import DAY, microseconds
from trainer.candidate_tower import CandidateVocabulary, name_index
from trainer.dataset import epoch_dataset, num_steps
from trainer.import_keras import keras
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.strategy import open_strategy
from trainer.text_tower import CachedTexts, TextTower, TunedTexts, embed_texts
from trainer.training_input_error import TrainingInputError
from trainer.two_tower_model import TwoTowerModel, two_tower_model
from trainer.warm_start import WarmStart, carry_over
from trainer.windows import Windows, label_shares, type_weights

CANDIDATE_BATCH = 4096
QUERY_BATCH = 256


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is. `loss` is the mean of the epoch so far."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """The towers, and what they were trained on. seconds: how long each epoch took, as `losses`."""

    settings: TrainingSettings
    interactions: Interactions
    text_tower: TextTower
    two_tower: TwoTowerModel
    losses: tuple[float, ...]
    seconds: tuple[float, ...]

    def candidate_embeddings(self) -> npt.NDArray[np.float32]:
        """Return float32 [num_items, dimension], ages taken at the newest event."""
        at = microseconds(self.interactions.end)
        rows = np.arange(len(self.interactions.items), dtype=np.int32)
        parts = [
            self.two_tower.embed_candidates(tf.constant(rows[start : start + CANDIDATE_BATCH]), at)
            for start in range(0, len(rows), CANDIDATE_BATCH)
        ]
        shape = (0, self.settings.dimension)
        # Whatever the precision of training, an index holds float32.
        arrays = [tf.cast(part, tf.float32).numpy() for part in parts]
        return np.concatenate(arrays or [np.zeros(shape, np.float32)])

    def embeddings_of(
        self, items: Sequence[Item], text_embeddings: npt.NDArray[np.float32] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return float32 [len(items), dimension] of any items, ages taken at the newest event.

        Items that the model was not trained on are embedded without an id, as a server does.

        text_embeddings: float32 [len(items), text_dimension]; by default the text tower makes them.
        """
        features = candidate_features(items, self.interactions.end)
        if text_embeddings is None:
            texts = features.text.tolist()
            text_embeddings = embed_texts(self.text_tower, texts, self.settings.text.batch_size)
        tower = self.two_tower.candidate_tower
        names = tower.vocabulary
        columns = {
            "id": name_index(names.item_ids, features.item_id),
            "category": name_index(names.categories, features.category),
            "brand": name_index(names.brands, features.brand),
            "tags": name_index(names.tags, features.tags),
            "price": features.price,
            "age_days": features.age_days,
            "text_embedding": text_embeddings,
        }
        embeddings = np.zeros((len(items), self.settings.dimension), np.float32)
        for start in range(0, len(items), CANDIDATE_BATCH):
            part = slice(start, start + CANDIDATE_BATCH)
            encoded = tower({name: tf.constant(column[part]) for name, column in columns.items()})
            embeddings[part] = tf.cast(encoded, tf.float32).numpy()
        return embeddings

    def query_embeddings(
        self, users: npt.NDArray[np.int64], candidate_embeddings: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Return float32 [len(users), dimension] for the whole histories of user indices."""
        table = tf.constant(candidate_embeddings)
        tower, text_dimension = self.two_tower.query_tower, self.text_tower.dimension

        def encode(items: Any, event_types: Any, timestamps: Any, last: Any) -> Any:
            no_query = tf.zeros([tf.shape(items)[0], 1, text_dimension])
            history = tf.gather(table, items)
            queries = tower(history, event_types, timestamps, last[:, None], no_query)
            return tf.cast(queries[:, 0], tf.float32)

        queries = np.zeros((len(users), candidate_embeddings.shape[1]), np.float32)
        # Histories of similar length together: a batch is as wide as its longest history.
        order = np.argsort(self._lengths(users), kind="stable")
        for start in range(0, len(users), QUERY_BATCH):
            rows = order[start : start + QUERY_BATCH]
            queries[rows] = encode(*self._histories(users[rows])).numpy()
        return queries

    def _lengths(self, users: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        first_event = self.interactions.first_event
        lengths = first_event[users + 1] - first_event[users]
        return lengths.clip(max=self.settings.history_length)

    def _histories(self, users: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
        """Return the users' newest events, padded to the longest, and the last event's position."""
        columns, lengths = self.interactions, self._lengths(users)
        places = np.arange(lengths.max(initial=1))
        known = places < lengths[:, None]
        oldest = columns.first_event[users + 1] - lengths
        events = (oldest[:, None] + places)[known]
        items, event_types = np.zeros((2, *known.shape), np.int32)
        timestamps = np.zeros(known.shape, np.int64)
        items[known] = columns.item[events]
        event_types[known] = columns.event_type[events] + 1
        timestamps[known] = columns.timestamp[events]
        return items, event_types, timestamps, np.maximum(lengths - 1, 0).astype(np.int32)


def train(
    interactions: Interactions,
    windows: Windows,
    settings: TrainingSettings,
    text_tower: TextTower,
    text_embeddings: npt.NDArray[np.float32] | None,
    *,
    start: WarmStart | None = None,
    checkpoints: Path | None = None,
    stop_after: int | None = None,
    on_step: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[int, TrainedModel], None] = lambda epoch, model: None,
) -> TrainedModel:
    """Train the two towers.

    Args:
        interactions: what happened.
        windows: the examples, as `trainer.history_examples.joined_windows` makes them.
        settings: the model and its training.
        text_tower: reads text; its LoRA weights are trained where the settings ask for it.
        text_embeddings: float32 [num_items, text_dimension] of the catalogue's texts; None where
            the tower is trained.
        start: the weights to start from; by default the model begins from nothing.
        checkpoints: a folder to save the state to after every epoch and to resume from. States of
            another model, of other events or of another start are removed from it.
        stop_after: stop after so many epochs of the schedule of `settings.epochs`.
        on_step: called after every step.
        on_epoch: called after every epoch with the number of epochs done and the model.

    Raises:
        TrainingInputError: no user acted at two different moments, or what they did weighs nothing:
            there is nothing to learn. Or the loss is not a number any more.
        ColdStartError: `start` does not fit.
    """
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
        model = _build_model(interactions, windows, settings, text_tower, text_embeddings, start)
        schedule = keras.optimizers.schedules.CosineDecay(
            settings.learning_rate, settings.epochs * steps, alpha=0.05
        )
        # Where there is a GPU, Keras would let XLA compile every shape that a batch may have.
        model.compile(keras.optimizers.Adam(schedule, clipnorm=5.0), jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    epochs_done = tf.Variable(0, dtype=tf.int64)
    losses: list[float] = []
    seconds: list[float] = []
    manager = None
    if checkpoints is not None:
        _remove_others(checkpoints, _fingerprint(model, interactions, settings, start))
        manager = _checkpoint_manager(checkpoints, model, epochs_done)

    def trained() -> TrainedModel:
        return TrainedModel(
            settings, interactions, text_tower, model, tuple(losses), tuple(seconds)
        )

    for epoch in range(int(epochs_done), stop_after or settings.epochs):
        callbacks = _callbacks(epoch, steps, settings, on_step)
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
        epochs_done.assign(epoch + 1)
        on_epoch(epoch + 1, trained())
        # Saved last, so that `on_epoch` has heard of every epoch that a resumed training skips.
        if manager is not None:
            manager.save(epoch + 1)
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


def _build_model(
    interactions: Interactions,
    windows: Windows,
    settings: TrainingSettings,
    text_tower: TextTower,
    text_embeddings: npt.NDArray[np.float32] | None,
    start: WarmStart | None,
) -> TwoTowerModel:
    features = candidate_features(interactions.items, interactions.end)
    # Other boundaries would change the meaning of the buckets that the start has weights for.
    vocabulary = CandidateVocabulary.of(features, start.price_boundaries if start else None)
    age_days = (interactions.timestamp.max() - interactions.timestamp) / DAY
    # An event counts as much as it would as a label: so the loss would learn popularity. Users'
    # first events are no labels, but count too: without them lists were worse (validation month).
    recent = np.exp(-age_days / settings.recency_days)
    recent = recent * type_weights(interactions, settings)[interactions.event_type]
    recent_counts = np.bincount(interactions.item, recent, minlength=len(interactions.items))
    log_popularity = np.log(recent_counts + 0.1)
    model = two_tower_model(
        settings,
        vocabulary,
        text_tower.dimension,
        len(interactions.event_types),
        catalogue=_catalogue_columns(interactions, features, vocabulary),
        texts=_text_lookup(settings, text_tower, features, text_embeddings),
        popularity=label_shares(interactions, windows, settings),
        popularity_coordinate=(log_popularity - log_popularity.mean()).astype(np.float32),
    )
    if start is not None:
        carry_over(start, model, interactions.event_types)
    return model


def _catalogue_columns(
    interactions: Interactions, features: CandidateFeatures, vocabulary: CandidateVocabulary
) -> Mapping[str, npt.NDArray[Any]]:
    published = [
        0 if item.published_at is None else microseconds(item.published_at)
        for item in interactions.items
    ]
    return {
        "id": np.arange(1, len(interactions.items) + 1, dtype=np.int32),
        "category": name_index(vocabulary.categories, features.category),
        "brand": name_index(vocabulary.brands, features.brand),
        "tags": name_index(vocabulary.tags, features.tags),
        "price": features.price,
        "published_at": np.array(published, dtype=np.int64),
    }


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


def _fingerprint(
    model: TwoTowerModel,
    interactions: Interactions,
    settings: TrainingSettings,
    start: WarmStart | None,
) -> str:
    """Return a hash of all that must be unchanged for a training to resume from a checkpoint.

    The catalogue may have grown since a training was interrupted: the tables then have other rows.
    And a training that had finished would learn nothing from events that came since.
    """
    names = model.candidate_tower.vocabulary
    parts = [
        settings.model_dump(mode="json"),
        start.version if start else None,
        interactions.digest(),
        [names.item_ids, names.categories, names.brands, names.tags, names.price_boundaries],
    ]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def _remove_others(folder: Path, fingerprint: str) -> None:
    """Remove the checkpoints in `folder` if they have another fingerprint, and note this one."""
    file = folder / "fingerprint"
    if not file.exists() or file.read_text() != fingerprint:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        file.write_text(fingerprint)


def _checkpoint_manager(folder: Path, model: TwoTowerModel, epochs_done: Any) -> Any:
    checkpoint = tf.train.Checkpoint(
        model=model, optimizer=model.optimizer, epochs_done=epochs_done
    )
    manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1)
    manager.restore_or_initialize()
    return manager


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
