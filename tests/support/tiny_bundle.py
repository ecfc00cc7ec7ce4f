"""A valid bundle in a second: text is hashed words, an item is its text, a user the mean item."""

import shutil
from collections.abc import Container, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorflow as tf

from feature_repo.candidate_features import candidate_features
from feature_repo.schema import Item
from serving import bundle as bundles
from serving import bundle_writing
from serving.published_bundles import set_current
from serving.ranking.bundle_files import RankingData, write_ranking
from serving.ranking.feature_names import feature_names
from serving.ranking.ranker import DenseLayer
from serving.signals.item_neighbours import NeighbourTable
from serving.signals.item_signals import SIGNALS
from serving.signatures import (
    ENCODE_CANDIDATE,
    ENCODE_CANDIDATE_FROM_TEXT,
    ENCODE_QUERY,
    ENCODE_QUERY_FROM_EMBEDDINGS,
    ENCODE_TEXT,
    RANK,
    RECOMMEND,
)
from serving.source_names import SOURCES

TEXT_DIMENSION = 384
BUCKETS = 512
CREATED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOP_K = 100

CATEGORIES = ("shoes", "kettles", "novels", "lamps", "tents")
BRANDS = ("acme", "norden", "kiwi")


def tiny_items(count: int = 60, start: int = 0) -> list[Item]:
    """Items i0, i1, ... whose category takes turns and dominates their text."""
    return [
        Item(
            item_id=f"i{number}",
            title=f"{CATEGORIES[number % 5]} {CATEGORIES[number % 5]} model {number}",
            description=f"{CATEGORIES[number % 5]} by {BRANDS[number % 3]}",
            categories=(CATEGORIES[number % 5], f"{CATEGORIES[number % 5]} {number % 2}"),
            brand=BRANDS[number % 3],
            price=float(number),
            tags=("even",) if number % 2 == 0 else (),
            attributes={"colour": ("red", "blue")[number % 2], "weight": number * 0.5},
            published_at=CREATED_AT - timedelta(days=number % 1000),
        )
        for number in range(start, start + count)
    ]


def tiny_ranking(num_items: int, *, has_ranker: bool = True) -> RankingData:
    """Tables that lead from each item to two others: the next, and by text those 5 and 10 on."""
    numbers = np.arange(num_items)

    def table(steps: tuple[int, int], days: float) -> NeighbourTable:
        neighbours = (numbers[:, None] + steps).astype(np.int32) % num_items
        weights = np.tile(np.array([1.0, 0.25], np.float32), num_items)
        return NeighbourTable(2 * np.arange(num_items + 1), neighbours.ravel(), weights, days)

    signals = np.random.default_rng(0).random((num_items, len(SIGNALS))).astype(np.float32)
    tables = {
        "ease": table((1, 2), 30.0),
        "transitions": table((1, 2), 30.0),
        "text": table((5, 10), 60.0),
    }
    if not has_ranker:
        return RankingData(tables, signals)
    return RankingData(tables, signals, SOURCES, (tiny_ranker_layer(),))


def tiny_ranker_layer(seed: int = 0, units: int = 1) -> DenseLayer:
    """The ranker of the tiny bundle, which is linear; of several units each says less."""
    kernel = tiny_rank_weights(seed)[:, None] / np.arange(1, units + 1, dtype=np.float32)
    return DenseLayer(kernel.astype(np.float32), np.zeros(units, np.float32))


def tiny_rank_weights(seed: int = 0) -> np.ndarray:
    """What the ranker of the tiny bundle weighs each feature by: float32 [num_features]."""
    random = np.random.default_rng(seed + 1)
    return random.normal(size=len(feature_names(SOURCES))).astype(np.float32)


def of_an_earlier_release(path: Path) -> None:
    """Let the bundle at `path`, which has a ranker, rank by a feature that there is no more."""
    manifest = bundles.read_manifest(path)
    assert manifest.ranking is not None
    features = (*manifest.ranking.features[:-1], "forgotten")
    ranking = manifest.ranking.model_copy(update={"features": features})
    document = manifest.model_copy(update={"ranking": ranking}).model_dump_json()
    (path / bundles.MANIFEST).write_text(document, "utf-8")


class TinyModel(tf.Module):
    """The signatures of a bundle, without training. Two seeds give two vector spaces."""

    def __init__(self, dimension: int, seed: int, top_k: int = TOP_K) -> None:
        super().__init__()
        random = np.random.default_rng(seed)
        words = random.normal(size=(BUCKETS, TEXT_DIMENSION)).astype(np.float32)
        projection = random.normal(size=(TEXT_DIMENSION, dimension)).astype(np.float32)
        self.words = tf.Variable(words, trainable=False)
        self.projection = tf.Variable(projection, trainable=False)
        self.nobody = tf.Variable(projection[0] / np.linalg.norm(projection[0]), trainable=False)
        self.rank_weights = tf.Variable(tiny_rank_weights(seed), trainable=False)
        self.top_k = top_k

    def hold(self, item_ids: Sequence[str], embeddings: np.ndarray) -> None:
        self.item_ids = tf.Variable(list(item_ids), trainable=False)
        self.candidates = tf.Variable(embeddings, trainable=False)
        self.rows = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(list(item_ids)), tf.range(len(item_ids))
            ),
            default_value=-1,
        )

    def text(self, texts: Any) -> Any:
        words = tf.strings.split(tf.strings.lower(tf.strings.join(["text ", texts])))
        buckets = tf.ragged.map_flat_values(tf.strings.to_hash_bucket_fast, words, BUCKETS)
        vectors = tf.ragged.map_flat_values(lambda rows: tf.gather(self.words, rows), buckets)
        return tf.math.l2_normalize(tf.reduce_mean(vectors, axis=1), axis=-1)

    def candidate(self, text_embedding: Any) -> Any:
        return tf.math.l2_normalize(text_embedding @ self.projection, axis=-1)

    def query(self, history: Any, known: Any, text_embedding: Any) -> Any:
        total = tf.reduce_sum(history * known[..., None], axis=1)
        total += text_embedding @ self.projection
        empty = tf.reduce_all(total == 0.0, axis=-1, keepdims=True)
        return tf.math.l2_normalize(tf.where(empty, self.nobody[None, :], total), axis=-1)

    def query_of_ids(self, item_ids: Any, timestamps: Any, query_text: Any) -> Any:
        rows = self.rows.lookup(item_ids)
        known = tf.cast((rows >= 0) & (timestamps > 0), tf.float32)
        history = tf.gather(self.candidates, tf.maximum(rows, 0))
        asked = tf.cast(query_text != "", tf.float32)[:, None]
        return self.query(history, known, self.text(query_text) * asked)

    def signatures(self) -> dict[str, Any]:
        dimension = self.projection.shape[1]
        texts = tf.TensorSpec([None], tf.string)
        numbers = tf.TensorSpec([None], tf.float32)
        events = tf.TensorSpec([None, None], tf.string)
        times = tf.TensorSpec([None, None], tf.int64)
        text_embeddings = tf.TensorSpec([None, TEXT_DIMENSION], tf.float32)
        vectors = tf.TensorSpec([None, None, dimension], tf.float32)

        def spec(given: Any, name: str) -> Any:
            return tf.TensorSpec(given.shape, given.dtype, name=name)

        @tf.function
        def encode_text(texts: Any) -> Any:
            return {"embeddings": self.text(texts)}

        @tf.function
        def encode_candidate(
            item_id: Any, text: Any, category: Any, brand: Any, tags: Any, price: Any, age_days: Any
        ) -> Any:
            return {"embeddings": self.candidate(self.text(text))}

        @tf.function
        def encode_candidate_from_text(
            item_id: Any,
            text_embedding: Any,
            category: Any,
            brand: Any,
            tags: Any,
            price: Any,
            age_days: Any,
        ) -> Any:
            return {"embeddings": self.candidate(text_embedding)}

        @tf.function
        def encode_query(item_ids: Any, event_types: Any, timestamps: Any, query_text: Any) -> Any:
            return {"embeddings": self.query_of_ids(item_ids, timestamps, query_text)}

        @tf.function
        def encode_query_from_embeddings(
            history_embeddings: Any, event_types: Any, timestamps: Any, query_text_embedding: Any
        ) -> Any:
            known = tf.cast(timestamps > 0, tf.float32)
            return {"embeddings": self.query(history_embeddings, known, query_text_embedding)}

        @tf.function
        def recommend(item_ids: Any, event_types: Any, timestamps: Any, query_text: Any) -> Any:
            queries = self.query_of_ids(item_ids, timestamps, query_text)
            scores = tf.matmul(queries, self.candidates, transpose_b=True)
            best = tf.math.top_k(scores, k=self.top_k)
            return {"item_ids": tf.gather(self.item_ids, best.indices), "scores": best.values}

        @tf.function
        def rank(features: Any) -> Any:
            return {"scores": tf.linalg.matvec(features, self.rank_weights)}

        def concrete(function: Any, **specs: Any) -> Any:
            named = {name: spec(given, name) for name, given in specs.items()}
            return function.get_concrete_function(**named)

        item = {"category": texts, "brand": texts, "tags": events}
        item |= {"price": numbers, "age_days": numbers}
        asked = {"item_ids": events, "event_types": events, "timestamps": times}
        return {
            ENCODE_TEXT: concrete(encode_text, texts=texts),
            ENCODE_CANDIDATE: concrete(encode_candidate, item_id=texts, text=texts, **item),
            ENCODE_CANDIDATE_FROM_TEXT: concrete(
                encode_candidate_from_text, item_id=texts, text_embedding=text_embeddings, **item
            ),
            ENCODE_QUERY: concrete(encode_query, **asked, query_text=texts),
            ENCODE_QUERY_FROM_EMBEDDINGS: concrete(
                encode_query_from_embeddings,
                history_embeddings=vectors,
                event_types=events,
                timestamps=times,
                query_text_embedding=text_embeddings,
            ),
            RECOMMEND: concrete(recommend, **asked, query_text=texts),
            RANK: concrete(
                rank, features=tf.TensorSpec([None, *self.rank_weights.shape], tf.float32)
            ),
        }


_SAVED: dict[tuple[object, ...], "TemporaryDirectory[str]"] = {}
"""The models that this process has saved: each takes half a second."""


def _saved(
    model: TinyModel, key: tuple[object, ...], omitted: Container[str | None]
) -> "TemporaryDirectory[str]":
    """Return a folder with the SavedModel of this key, without the signatures `omitted`."""
    if key not in _SAVED:
        signatures = {
            name: signature for name, signature in model.signatures().items() if name not in omitted
        }
        _SAVED[key] = TemporaryDirectory()
        tf.saved_model.save(model, _SAVED[key].name, signatures=signatures)
    return _SAVED[key]


def build_tiny_bundle(
    folder: Path,
    items: Sequence[Item] | None = None,
    *,
    dimension: int = 16,
    seed: int = 0,
    created_at: datetime = CREATED_AT,
    current: bool = True,
    embeddings: np.ndarray | None = None,
    counts: np.ndarray | None = None,
    omit_signature: str | None = None,
    ranking: RankingData | None = None,
) -> Path:
    """Publish a bundle of `items` (default: `tiny_items()`) in `folder`; return where it lies.

    ranking: as `tiny_ranking` makes it; by default the bundle has nothing to rank by.
    """
    items = tiny_items() if items is None else list(items)
    model = TinyModel(dimension, seed, min(TOP_K, len(items)))
    if embeddings is None:
        columns = candidate_features(items, created_at)
        embeddings = model.candidate(model.text(tf.constant(columns.text))).numpy()
    model.hold([item.item_id for item in items], embeddings)
    manifest = bundles.Manifest(
        version=bundles.new_version(created_at, f"{seed:04x}"),
        created_at=created_at,
        dimension=dimension,
        text_dimension=TEXT_DIMENSION,
        max_history=128,
        event_types=("view", "cart", "purchase"),
        top_k=model.top_k,
        num_items=len(items),
        data_window=bundles.DataWindow(start=None, end=None, events=0),
        metrics={"ndcg@10": 0.5},
        model={"name": "tiny"},
        ranking=ranking.part if ranking else None,
    )
    omitted = {omit_signature}
    if ranking is None or not ranking.sources:
        omitted.add(RANK)
    with bundle_writing.building(folder, manifest.version) as draft:
        item_ids = tuple(item.item_id for item in items)
        key = (dimension, seed, item_ids, embeddings.tobytes(), frozenset(omitted))
        shutil.copytree(_saved(model, key, omitted).name, draft / bundles.MODEL)
        counts = np.zeros(len(items), np.int64) if counts is None else counts
        bundle_writing.write_candidates(draft, [item.item_id for item in items], embeddings, counts)
        bundle_writing.write_items(draft, items)
        if ranking is not None:
            if ranking.sources:
                units = max(1, len(ranking.objectives))
                ranking = replace(ranking, layers=(tiny_ranker_layer(seed, units),))
            write_ranking(draft, ranking)
        path = bundle_writing.publish(folder, draft, manifest)
    if current:
        set_current(folder, path.name)
    return path
