"""What was embedded is found again, by model and text; what cannot be kept is embedded again."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from serving import text_embedding_cache
from serving.text_embedding_cache import TextEmbeddingCache

TEXTS = ["", "lamp", "Lampe für 1.234,50 €", "灯", "half of a pair: \ud83d", *map(str, range(700))]


# As files of 0.2.0 have it.
TABLE = "CREATE TABLE text_embeddings (key BLOB PRIMARY KEY, embedding BLOB NOT NULL) WITHOUT ROWID"


def embeddings_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def test_what_was_kept_is_found_after_the_file_is_opened_again(tmp_path: Path) -> None:
    embeddings = embeddings_of(len(TEXTS))
    cache = TextEmbeddingCache(tmp_path / "sub" / "texts.sqlite")
    assert cache.get("bert", TEXTS) == [None] * len(TEXTS)
    cache.put("bert", TEXTS, embeddings)
    cache.close()
    again = TextEmbeddingCache(tmp_path / "sub" / "texts.sqlite")
    np.testing.assert_array_equal(np.stack(again.get("bert", TEXTS)), embeddings)
    assert again.get("another bert", ["lamp"]) == [None]
    again.put("another bert", ["lamp"], embeddings[:1])
    np.testing.assert_array_equal(np.stack(again.get("bert", ["lamp", "lamp"])), embeddings[[1, 1]])
    again.close()


def test_a_file_of_an_earlier_release_goes_on(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "texts.sqlite")) as file, file:
        file.execute(TABLE)
    cache = TextEmbeddingCache(tmp_path / "texts.sqlite")
    cache.put("bert", TEXTS, embeddings_of(len(TEXTS)))
    assert np.stack(cache.get("bert", TEXTS)).tolist() == embeddings_of(len(TEXTS)).tolist()
    cache.close()


def test_the_file_is_little_larger_than_what_it_keeps(tmp_path: Path) -> None:
    texts = [f"lamp {number}" for number in range(2000)]
    embeddings = np.zeros((len(texts), 384), np.float32)
    cache = TextEmbeddingCache(tmp_path / "texts.sqlite")
    cache.put("bert", texts, embeddings)
    cache.close()
    assert (tmp_path / "texts.sqlite").stat().st_size < 1.2 * embeddings.nbytes


def test_a_full_disk_costs_what_is_new_and_nothing_else(tmp_path: Path) -> None:
    cache = TextEmbeddingCache(tmp_path / "texts.sqlite")
    cache.put("bert", ["lamp"], embeddings_of(1))
    (pages,) = cache._connection.execute("PRAGMA page_count").fetchone()
    cache._connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()
    with capture_logs() as logs:
        cache.put("bert", TEXTS, embeddings_of(len(TEXTS), seed=1))
    assert logs == [
        {
            "event": "text_embeddings_not_kept",
            "log_level": "warning",
            "texts": len(TEXTS),
            "reason": "database or disk is full",
        }
    ]
    lamp, other = cache.get("bert", ["lamp", "灯"])
    assert lamp is not None
    np.testing.assert_array_equal(lamp, embeddings_of(1)[0])
    assert other is None
    cache.close()


def test_nothing_of_the_file_is_in_memory_that_only_one_machine_shares(tmp_path: Path) -> None:
    file = tmp_path / "texts.sqlite"
    # As an earlier version has left it.
    with closing(sqlite3.connect(file)) as earlier:
        earlier.execute("PRAGMA journal_mode = WAL")
        earlier.execute(TABLE)
    cache, other = TextEmbeddingCache(file), TextEmbeddingCache(file)
    for each, text in ((cache, "lamp"), (other, "灯")):
        each.put("bert", [text], embeddings_of(1))
        assert not [*tmp_path.glob("*-wal"), *tmp_path.glob("*-shm")]
    for each in (cache, other):
        found = each.get("bert", ["灯", "lamp"])
        np.testing.assert_array_equal(np.stack(found), embeddings_of(1)[[0, 0]])
        each.close()


@pytest.mark.parametrize("opened", [False, True])
def test_a_damaged_file_costs_what_is_kept_and_stops_nobody(
    tmp_path: Path, *, opened: bool
) -> None:
    file = tmp_path / "texts.sqlite"
    cache = TextEmbeddingCache(file)
    cache.put("bert", TEXTS, embeddings_of(len(TEXTS)))
    if not opened:
        cache.close()
    damaged = b"\xff no database at all \xff" * (file.stat().st_size // 24)
    file.write_bytes(damaged)
    with capture_logs() as logs:
        cache = cache if opened else TextEmbeddingCache(file)
        for _ in range(2):
            assert cache.get("bert", ["lamp"]) == [None]
    cache.put("bert", ["lamp"], embeddings_of(1))
    np.testing.assert_array_equal(np.stack(cache.get("bert", ["lamp"])), embeddings_of(1))
    cache.close()
    (warning,) = logs
    assert (warning["event"], warning["log_level"]) == ("text_embeddings_in_memory", "warning")
    assert warning["reason"].startswith(f"{file}: cannot be used: ")
    assert warning["reason"].endswith(text_embedding_cache.WITHOUT_IT)
    assert file.read_bytes() == damaged


def test_a_file_that_another_holds_is_embedded_again_meanwhile(
    tmp_path: Path,
) -> None:
    cache = TextEmbeddingCache(tmp_path / "texts.sqlite")
    cache.put("bert", ["lamp"], embeddings_of(1))
    cache._connection.execute("PRAGMA busy_timeout = 0").fetchall()
    with closing(sqlite3.connect(tmp_path / "texts.sqlite")) as other, capture_logs() as logs:
        other.execute("BEGIN EXCLUSIVE")
        assert cache.get("bert", ["lamp"]) == [None]
        cache.put("bert", ["灯"], embeddings_of(1))
    assert [line["event"] for line in logs] == [
        "text_embeddings_not_read",
        "text_embeddings_not_kept",
    ]
    np.testing.assert_array_equal(np.stack(cache.get("bert", ["lamp"])), embeddings_of(1))
    cache.close()


def test_each_text_is_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_embedding_cache, "SLICE", 2)
    cache, asked, reached = TextEmbeddingCache(), [], []

    def embed(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([[len(text), ord(text[0])] for text in texts], np.float32)

    def embedded(*texts: str) -> list[list[float]]:
        found = cache.embedded(
            "bert", texts, 2, embed, lambda done, total: reached.append((done, total))
        )
        assert found.dtype == np.float32
        return found.tolist()

    lamp, b, cc = [4.0, 108.0], [1.0, 98.0], [2.0, 99.0]
    assert embedded("lamp", "b", "lamp", "cc") == [lamp, b, lamp, cc]
    assert (asked, reached) == (["lamp", "b", "cc"], [(2, 3), (3, 3)])
    # One of another length is of no use.
    cache.put("bert", ["b"], embeddings_of(1))
    assert embedded("b", "cc", "d") == [b, cc, [1.0, 100.0]]
    assert asked[3:] == ["b", "d"]
    assert cache.embedded("bert", [], 2, embed).shape == (0, 2)
    cache.close()


@pytest.mark.parametrize(("others", "is_left"), [(1, True), (3, False)])
def test_texts_that_are_no_more_go_once_they_are_the_most(
    tmp_path: Path, others: int, *, is_left: bool
) -> None:
    kept, changed = ["lamp", "灯"], [f"{number} lamps" for number in range(others)]
    with closing(TextEmbeddingCache(tmp_path / "texts.sqlite")) as cache:
        cache.put("bert", [*kept, *changed], embeddings_of(2 + others))
        cache.put("another bert", kept[:1], embeddings_of(1))
        assert cache.keep_only("bert", [*kept, *kept]) == (0 if is_left else others + 1)
        assert all(found is not None for found in cache.get("bert", kept))
        assert all((found is not None) == is_left for found in cache.get("bert", changed))
        assert cache.get("another bert", kept)[0] is not None or not is_left
        # And once more, in the same process.
        cache.put("bert", changed, embeddings_of(others))
        cache.keep_only("bert", kept)
