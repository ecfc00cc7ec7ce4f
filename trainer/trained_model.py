"""What a training of the two towers has made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from feature_repo.candidate_features import candidate_features
from feature_repo.schema import Item
from feature_repo.times import microseconds
from trainer.candidate_tower import candidate_columns
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.text_tower import TextTower, embed_texts
from trainer.two_tower_model import TwoTowerModel

CANDIDATE_BATCH = 4096
QUERY_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """The towers, and what they were trained on.

    settings: of the training. interactions: what it learned from, and its catalogue, whose order
    is that of the model's items. losses, seconds: the mean loss of every epoch, and how long it
    took; of the epochs that a resumed training has skipped there is neither.
    """

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
        columns = {
            **candidate_columns(tower.vocabulary, features),
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
        """Return float32 [len(users), dimension] of the newest `history_length` events of users.

        Args:
            users: int64 [n], places among the `user_ids` of `interactions`; also users without an
                event.
            candidate_embeddings: float32 [num_items, dimension] of the items of `interactions`, as
                `candidate_embeddings` returns them.

        Raises:
            IndexError: a user is beyond the last of `user_ids`.
        """
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
        """Return int64 [len(users)], how many events of each are read."""
        first_event = self.interactions.first_event
        lengths = first_event[users + 1] - first_event[users]
        return lengths.clip(max=self.settings.history_length)

    def _histories(self, users: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
        """Return the users' newest events, and the position of the last one of each, int32 [n].

        Items int32, places in the catalogue; event types int32, from 1 on; timestamps int64, in
        microseconds. Each [n, longest], at least 1 wide; oldest first, zeros behind them.
        """
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
