"""One suite for every `CandidateIndex`, checked against a dictionary."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.candidate_index import CandidateIndex
from serving.exact_index import ExactIndex
from serving.item_rows import ItemRows
from serving.scann_index import ScannIndex

DIMENSION = 8
ROWS = ItemRows()
"""One for all: a number never changes its meaning."""

Make = Callable[[], CandidateIndex]


def exact() -> CandidateIndex:
    return ExactIndex(DIMENSION, ROWS)


def scann() -> CandidateIndex:
    # A low bound, so that small examples reach the tree and leave it again.
    return ScannIndex(ExactIndex(DIMENSION, ROWS), tree_from=200)


@pytest.fixture(params=[exact, scann])
def make(request: pytest.FixtureRequest) -> Make:
    make: Make = request.param
    return make


def vectors(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(20, DIMENSION))
    points = centres[random.integers(20, size=count)] + 0.4 * random.normal(size=(count, DIMENSION))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def search(index: CandidateIndex, queries: np.ndarray, limit: int) -> tuple[Any, np.ndarray]:
    """Return ids, "" for none, and scores."""
    rows, scores = index.search(queries, limit)
    assert rows.dtype == np.int64
    return np.where(rows < 0, "", ROWS.ids_of(rows)), scores


def agree(index: CandidateIndex, oracle: dict[str, np.ndarray], limit: int, seed: int) -> None:
    """Every answer is true, sorted, distinct, padded; an exact index finds the best."""
    query = vectors(1, seed)
    ids, scores = search(index, query, limit)
    assert ids.shape == scores.shape == (1, limit)
    assert scores.dtype == np.float32
    found = min(limit, len(oracle))
    if index.is_exact or limit >= len(oracle):
        assert np.count_nonzero(ids[0] != "") == found
    count = int(np.count_nonzero(ids[0] != ""))
    assert count > 0 or not oracle
    assert (ids[0, count:] == "").all()
    assert np.isneginf(scores[0, count:]).all()
    assert len(set(ids[0, :count])) == count
    assert (np.diff(scores[0, :count]) <= 1e-6).all()
    for item_id, score in zip(ids[0, :count], scores[0, :count], strict=True):
        assert score == pytest.approx(float(oracle[item_id] @ query[0]), abs=1e-5)
    if index.is_exact:
        truth = sorted((float(v @ query[0]) for v in oracle.values()), reverse=True)[:found]
        assert scores[0, :found] == pytest.approx(truth, abs=1e-5)


batches = st.lists(
    st.tuples(
        st.sampled_from(["upsert", "delete"]),
        st.integers(0, 30),
        st.integers(1, 30),
        st.integers(0, 1000),
    ),
    max_size=12,
)


@pytest.mark.parametrize("size", [0, 230])
@given(batches=batches, limit=st.integers(1, 60))
def test_any_changes_leave_what_a_dictionary_holds(
    size: int, batches: list[tuple[str, int, int, int]], limit: int
) -> None:
    for make in (exact, scann):
        index, oracle = make(), {}
        steps = [("upsert", 0, size, 1), *batches] if size else batches
        for action, start, count, seed in steps:
            ids = [f"i{number}" for number in range(start, start + count)]
            if action == "upsert":
                embeddings = vectors(count, seed)
                index.upsert(ids, embeddings)
                oracle.update(zip(ids, embeddings, strict=True))
            else:
                index.delete(ids)
                for item_id in ids:
                    oracle.pop(item_id, None)
        agree(index, oracle, limit, seed=7)
        if isinstance(index, ScannIndex):
            index.rebalance()
            agree(index, oracle, limit, seed=8)


def test_an_empty_index_answers_with_padding(make: Make) -> None:
    ids, scores = search(make(), vectors(3), 5)
    assert (ids == "").all()
    assert np.isneginf(scores).all()
    assert ids.shape == (3, 5)


def test_everything_can_be_deleted_and_come_back(make: Make) -> None:
    index, embeddings = make(), vectors(500)
    ids = [f"i{number}" for number in range(500)]
    for _ in range(20):  # A rebuild in the background may end at any point.
        index.upsert(ids, embeddings)
        agree(index, dict(zip(ids, embeddings, strict=True)), 600, seed=3)
        index.delete([*ids, "never there"])
        agree(index, {}, 3, seed=3)


def test_equal_embeddings_are_all_found(make: Make) -> None:
    index = make()
    index.upsert([f"i{n}" for n in range(300)], np.repeat(vectors(1), 300, axis=0))
    ids, scores = search(index, vectors(1), 300)
    assert set(ids[0]) == {f"i{n}" for n in range(300)}
    assert scores == pytest.approx(np.ones((1, 300)), abs=1e-5)


def test_a_batch_of_queries_is_answered_one_by_one(make: Make) -> None:
    index, queries = make(), vectors(150, seed=2)
    index.upsert([f"i{n}" for n in range(400)], vectors(400))
    together = index.search(queries, 10)
    for number in (0, 70, 149):
        alone = index.search(queries[number : number + 1], 10)
        assert alone.scores[0] == pytest.approx(together.scores[number], abs=1e-5)


@pytest.mark.parametrize(
    ("ids", "embeddings", "message"),
    [
        (["a"], np.zeros((1, 3), np.float32), r"`candidate_embeddings` must have shape \[n, 8\]"),
        (["a"], np.zeros(8, np.float32), "must have shape"),
        (["a"], np.zeros((1, 8)), "must be float32. Received: float64"),
        (["a"], np.full((1, 8), np.nan, np.float32), "must be finite"),
        (["a", "b"], np.zeros((1, 8), np.float32), "one id per embedding. Received: 2 ids, 1"),
        (["a", "a"], np.zeros((2, 8), np.float32), "must be distinct"),
    ],
)
def test_a_wrong_upsert_is_refused_and_changes_nothing(
    make: Make, ids: list[str], embeddings: np.ndarray, message: str
) -> None:
    index = make()
    with pytest.raises(ValueError, match=message):
        index.upsert(ids, embeddings)
    assert (index.search(vectors(1), 2).rows == -1).all()


def test_a_wrong_search_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match=r"`query_embeddings` must have shape"):
        make().search(np.zeros((1, 3), np.float32), 1)
    with pytest.raises(ValueError, match=r"`limit` must be at least 1. Received: 0"):
        make().search(vectors(1), 0)


def test_searches_beside_a_writer_see_only_what_was_there(make: Make) -> None:
    index, embeddings = make(), vectors(1200)
    stable = [f"i{n}" for n in range(600)]
    changing = [f"i{n}" for n in range(600, 1200)]
    index.upsert(stable, embeddings[:600])
    stop = threading.Event()
    errors: list[BaseException] = []

    def write() -> None:
        try:
            while not stop.is_set():
                index.upsert(changing, embeddings[600:])
                index.delete(changing)
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(200):
            ids, scores = search(index, embeddings[number : number + 1], 5)
            # Its own vector is there all the time.
            assert scores[0, 0] == pytest.approx(1.0, abs=1e-4)
            expected = [embeddings[int(item_id[1:])] @ embeddings[number] for item_id in ids[0]]
            assert scores[0] == pytest.approx(expected, abs=1e-4)
    finally:
        stop.set()
        writer.join()
    assert errors == []


@pytest.mark.parametrize("count", [2_500, 25_000])
def test_scann_finds_what_exact_search_finds(count: int) -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(100, 32))

    def points(number: int) -> np.ndarray:
        drawn = centres[random.integers(100, size=number)]
        drawn = drawn + 0.8 * random.normal(size=(number, 32))
        return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    table = ExactIndex(32)
    table.upsert([f"i{n}" for n in range(count)], points(count))
    index = ScannIndex(table)
    # A third of the catalogue arrives after the tree was built.
    index.upsert([f"n{n}" for n in range(count // 3)], points(count // 3))
    index.delete([f"i{n}" for n in range(0, count, 5)])
    queries = points(200)
    truth = table.search(queries, 10).rows
    found = index.search(queries, 10).rows
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)])
    assert recall >= 0.99
