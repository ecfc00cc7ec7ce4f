"""What was embedded is found again, by model and text; what cannot be kept is embedded again."""

from pathlib import Path

import numpy as np
from structlog.testing import capture_logs

from serving.text_embedding_cache import TextEmbeddingCache

TEXTS = ["", "lamp", "Lampe für 1.234,50 €", "灯", "half of a pair: \ud83d", *map(str, range(700))]


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
