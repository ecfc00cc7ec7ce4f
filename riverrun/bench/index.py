"""The live index alone: recall against exact search, speed, and how changes affect both."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.exact_index import ExactIndex
from serving.scann_index import ScannIndex

Embeddings = npt.NDArray[np.float32]

RECALL_AT = 10
UPSERT_BATCH = 256
"""How many items the follower of the changelog upserts at once."""
SEARCHES = 1_000


@dataclass(frozen=True, slots=True)
class SearchSpeed:
    """Milliseconds of single searches from one thread."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class IndexResult:
    """What was measured, in the order in which it was.

    upserts_per_second: without searches; beside_upserts: searches while another thread
    upserts without pause, and how many upserts a second that thread did.
    """

    build_seconds: float
    recall: float
    idle: SearchSpeed
    upserts_per_second: float
    beside_upserts: SearchSpeed
    upserts_beside_searches: float
    churn: float
    recall_after_churn: float
    rebuild_seconds: float
    recall_after_rebuild: float


def measure_index(
    candidate_ids: Sequence[str],
    candidate_embeddings: Embeddings,
    query_embeddings: Embeddings,
    *,
    pool: int,
    churn: float,
    seed: int,
    stage: Callable[[str], None] = lambda title: None,
) -> IndexResult:
    """Measure a `ScannIndex` of the candidates, float32 [n, dimension], as it is served.

    pool: how many candidates a search asks for, as serving does; recall is that of the first
    ten. churn: the share of the candidates that is replaced by new ones: a new candidate is
    the mean of two, so that it lies where candidates lie.
    """
    random = np.random.default_rng(seed)
    table = ExactIndex(candidate_embeddings.shape[1])
    table.upsert(candidate_ids, candidate_embeddings)
    stage("building")
    start = time.perf_counter()
    index = ScannIndex(table)
    build_seconds = time.perf_counter() - start
    stage("searching")
    recall = _recall(index, table, query_embeddings, pool)
    idle = _search_speed(index, query_embeddings, pool)
    stage("upserting")
    some = random.choice(len(candidate_ids), min(20_000, len(candidate_ids)), replace=False)
    known = [candidate_ids[row] for row in some]
    start = time.perf_counter()
    _upsert(index, known, candidate_embeddings[some])
    upserts_per_second = len(known) / (time.perf_counter() - start)
    stage("searching beside upserts")
    with _Upserting(index, known, candidate_embeddings[some]) as upserting:
        beside = _search_speed(index, query_embeddings, pool)
    stage("replacing candidates")
    gone = random.choice(len(candidate_ids), round(churn * len(candidate_ids)), replace=False)
    index.delete([candidate_ids[row] for row in gone])
    parents = random.choice(len(candidate_ids), (len(gone), 2))
    fresh = candidate_embeddings[parents].mean(axis=1).astype(np.float32)
    _upsert(index, [f"new-{number}" for number in range(len(gone))], fresh)
    after_churn = _recall(index, table, query_embeddings, pool)
    stage("building again")
    start = time.perf_counter()
    index.rebalance()
    return IndexResult(
        build_seconds=build_seconds,
        recall=recall,
        idle=idle,
        upserts_per_second=upserts_per_second,
        beside_upserts=beside,
        upserts_beside_searches=upserting.per_second,
        churn=churn,
        recall_after_churn=after_churn,
        rebuild_seconds=time.perf_counter() - start,
        recall_after_rebuild=_recall(index, table, query_embeddings, pool),
    )


def _recall(index: ScannIndex, table: ExactIndex, queries: Embeddings, pool: int) -> float:
    found = index.search(queries, pool).rows[:, :RECALL_AT]
    exact = table.search(queries, RECALL_AT).rows
    hits = [np.isin(right, left).sum() for left, right in zip(found, exact, strict=True)]
    return float(np.mean(hits)) / RECALL_AT


def _search_speed(index: ScannIndex, queries: Embeddings, pool: int) -> SearchSpeed:
    seconds = []
    for number in range(SEARCHES):
        query = queries[number % len(queries)][None]
        start = time.perf_counter()
        index.search(query, pool)
        seconds.append(time.perf_counter() - start)
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1e3
    return SearchSpeed(float(p50), float(p99))


def _upsert(index: ScannIndex, candidate_ids: Sequence[str], embeddings: Embeddings) -> None:
    for start in range(0, len(candidate_ids), UPSERT_BATCH):
        batch = slice(start, start + UPSERT_BATCH)
        index.upsert(candidate_ids[batch], embeddings[batch])


class _Upserting:
    """Upserts the same candidates over and over in a thread of its own."""

    def __init__(
        self, index: ScannIndex, candidate_ids: Sequence[str], embeddings: Embeddings
    ) -> None:
        self.per_second = 0.0
        self._arguments = index, candidate_ids, embeddings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "_Upserting":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        index, candidate_ids, embeddings = self._arguments
        done, first = 0, time.perf_counter()
        while not self._stop.is_set():
            start = done % len(candidate_ids)
            batch = slice(start, start + UPSERT_BATCH)
            index.upsert(candidate_ids[batch], embeddings[batch])
            done += len(candidate_ids[batch])
        self.per_second = done / (time.perf_counter() - first)
