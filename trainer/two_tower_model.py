"""The two towers and their training step."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from feature_repo.times import DAY
from trainer.candidate_tower import CandidateTower, CandidateVocabulary
from trainer.import_keras import keras
from trainer.query_tower import QueryTower
from trainer.retrieval import RetrievalLoss, full_softmax_loss
from trainer.settings import TrainingSettings
from trainer.strategy import num_workers
from trainer.text_tower import CachedTexts, TunedTexts


class TwoTowerModel(keras.Model):
    """Query tower and candidate tower over one catalogue, trained by a softmax over its items.

    The softmax is sampled where the catalogue is large, and over every item where it is not.

    Candidates of a step are embedded once each: the items of the histories, of the labels and
    the sampled negatives are gathered from one table of the distinct ones. So the same vector
    represents an item in a history and as a candidate, as it does when served.

    Args:
        query_tower, candidate_tower: the towers.
        catalogue: columns of all items: `id`, `category`, `brand` int32 [num_items], `price`
            float32 [num_items], `published_at` int64 [num_items] in microseconds, 0 if unknown.
        texts: the layer that looks up or computes text embeddings of catalogue rows.
        popularity: float [num_items], each item's share of the labels of a step
            (`trainer.windows.label_shares`).
        num_sampled_negatives: uniform negatives a step, beside those in the batch; at least the
            size of the catalogue means that every item is a candidate, once.
    """

    def __init__(
        self,
        query_tower: QueryTower,
        candidate_tower: CandidateTower,
        catalogue: Mapping[str, npt.NDArray[Any]],
        texts: CachedTexts | TunedTexts,
        popularity: npt.NDArray[np.float32],
        num_sampled_negatives: int,
    ) -> None:
        super().__init__(name="two_tower")
        self.query_tower = query_tower
        self.candidate_tower = candidate_tower
        self.num_items = len(catalogue["id"])
        self.num_sampled_negatives = num_sampled_negatives
        self._every_item = num_sampled_negatives >= self.num_items
        self._catalogue = {name: tf.constant(column) for name, column in catalogue.items()}
        self._texts = texts
        self._popularity = tf.constant(popularity, tf.float32)
        self._retrieval = RetrievalLoss()
        self._seed_generator = keras.random.SeedGenerator()

    def build(self, *_: Any) -> None:
        """Build both towers."""
        self.query_tower.build()
        self.candidate_tower.build()
        self.built = True

    def embed_candidates(self, rows: Any, reference_time: Any, training: bool = False) -> Any:
        """Return candidate embeddings, float [n, dimension], of catalogue rows int32 [n].

        Ages are taken at `reference_time`, int64 microseconds.
        """
        columns = {name: tf.gather(column, rows) for name, column in self._catalogue.items()}
        published_at = columns.pop("published_at")
        age = tf.cast(reference_time - published_at, tf.float32) / DAY
        columns["age_days"] = tf.where(published_at > 0, tf.maximum(age, 0.0), -1.0)
        columns["text_embedding"] = self._texts(rows)
        return self.candidate_tower(columns, training=training)

    def call(self, batch: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the arguments of the loss: queries, their labels and weights, and candidates.

        `batch` holds the columns of `trainer.windows.Batch`. Labels are catalogue rows.
        """
        labels = tf.reshape(batch["labels"], [-1])
        weights = tf.reshape(batch["weights"], [-1])
        labelled = tf.where(weights > 0)[:, 0]
        labels = tf.gather(labels, labelled)
        # Row 0 of the batch's items is padding: any item will do, since it is masked.
        history = tf.maximum(batch["items"] - 1, 0)
        reference_time = tf.reduce_max(batch["reference_time"])
        if self._every_item:
            candidates = self.embed_candidates(tf.range(self.num_items), reference_time, training)
            loss_rows = {"candidates": candidates}
            history_embeddings = tf.gather(candidates, history)
        else:
            candidate_ids = tf.concat([labels, self._negatives()], axis=0)
            distinct, place = tf.unique(
                tf.concat([tf.reshape(history, [-1]), candidate_ids], axis=0)
            )
            table = self.embed_candidates(distinct, reference_time, training)
            places = tf.reshape(place[: tf.size(history)], tf.shape(history))
            history_embeddings = tf.gather(table, places)
            loss_rows = {
                "candidates": tf.gather(table, place[tf.size(history) :]),
                "candidate_ids": candidate_ids,
                "expected_count": self._expected_count(candidate_ids, tf.size(labels)),
            }
        queries = self.query_tower(
            history_embeddings,
            batch["event_types"],
            batch["timestamps"],
            batch["positions"],
            self._query_texts(batch["searched"]),
            training=training,
        )
        per_position = tf.shape(batch["labels"])[-1]
        queries = tf.reshape(queries, [-1, queries.shape[-1]])
        queries = tf.gather(queries, labelled // tf.cast(per_position, labelled.dtype))
        return {
            "queries": queries,
            "labels": labels,
            "weights": tf.gather(weights, labelled),
            **loss_rows,
        }

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, **_: Any
    ) -> Any:
        """Return the loss of what `call` made."""
        # Whatever the precision of the towers: Keras casts what a model returns.
        queries, candidates, weights = (
            tf.cast(y_pred[name], tf.float32) for name in ("queries", "candidates", "weights")
        )
        if self._every_item:
            loss = full_softmax_loss(queries, candidates, y_pred["labels"], weights)
        else:
            expected_count = tf.cast(y_pred["expected_count"], tf.float32)
            loss = self._retrieval(
                queries, candidates, y_pred["candidate_ids"], expected_count, weights
            )
        # Keras sums the gradients of the replicas.
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def compute_metrics(self, *args: Any, **kwargs: Any) -> Any:
        """Return the metrics by name: scalars, but vectors [1] where several workers train."""
        metrics = super().compute_metrics(*args, **kwargs)
        strategy = tf.distribute.get_strategy()
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and num_workers() > 1:
            # Keras takes the workers' mean along an axis, which scalars lack.
            return {name: value[None] for name, value in metrics.items()}
        return metrics

    def _maybe_symbolic_build(self, *_: Any, **__: Any) -> None:
        # It is built. Keras would look at the mean of the shares of the first batch, and cannot
        # take it over several workers (https://github.com/keras-team/keras/issues/20585).
        pass

    def _query_texts(self, searched: Any) -> Any:
        """Return float [n, p, text_dimension] of item indices from 1 on, zeros for 0."""
        # Each text once: a text tower that is tuned computes its embedding here.
        distinct, place = tf.unique(tf.reshape(searched, [-1]))
        texts = self._texts(tf.maximum(distinct - 1, 0))
        texts *= tf.cast(distinct > 0, texts.dtype)[:, None]
        return tf.reshape(
            tf.gather(texts, place), tf.concat([tf.shape(searched), [texts.shape[-1]]], axis=0)
        )

    def _negatives(self) -> Any:
        shape = (self.num_sampled_negatives,)
        return keras.random.randint(shape, 0, self.num_items, seed=self._seed_generator)

    def _expected_count(self, candidate_ids: Any, num_labels: Any) -> Any:
        uniform = self.num_sampled_negatives / self.num_items
        in_batch = tf.cast(num_labels, tf.float32) * tf.gather(self._popularity, candidate_ids)
        return in_batch + uniform


def two_tower_model(
    settings: TrainingSettings,
    vocabulary: CandidateVocabulary,
    text_dimension: int,
    num_event_types: int,
    *,
    catalogue: Mapping[str, npt.NDArray[Any]],
    texts: CachedTexts | TunedTexts,
    popularity: npt.NDArray[np.float32],
    popularity_coordinate: npt.NDArray[np.float32] | None = None,
) -> TwoTowerModel:
    """Return an untrained model of these settings, built.

    catalogue, texts, popularity: as `TwoTowerModel` takes them. popularity_coordinate: float
    [num_items], the initial popularity coordinate of the candidates.
    """
    model = TwoTowerModel(
        QueryTower(
            dimension=settings.dimension,
            text_dimension=text_dimension,
            num_event_types=num_event_types,
            hidden_units=settings.hidden_units,
            num_layers=settings.transformer_layers,
            num_heads=settings.transformer_heads,
            event_dropout=settings.event_dropout,
            hidden_dropout=settings.hidden_dropout,
            name="query_tower",
        ),
        CandidateTower(
            vocabulary,
            dimension=settings.dimension,
            text_dimension=text_dimension,
            id_dropout=settings.id_dropout,
            popularity=popularity_coordinate,
            name="candidate_tower",
        ),
        catalogue=catalogue,
        texts=texts,
        popularity=popularity,
        num_sampled_negatives=settings.num_sampled_negatives,
    )
    model.build()
    return model


def blank_model(
    settings: TrainingSettings, text_dimension: int, price_boundaries: Sequence[float] = ()
) -> TwoTowerModel:
    """Return an untrained model that knows no item and no event type.

    Its weights have the names and shapes of those of any model with these settings, except that
    tables have no rows for names.
    """
    return two_tower_model(
        settings,
        CandidateVocabulary((), (), (), (), price_boundaries),
        text_dimension,
        num_event_types=0,
        catalogue={"id": np.zeros(0, np.int32)},
        texts=CachedTexts(np.zeros((0, text_dimension), np.float32)),
        popularity=np.zeros(0, np.float32),
    )
