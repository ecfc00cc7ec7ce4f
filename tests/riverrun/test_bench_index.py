"""`riverrun bench index` measures one index as it is served, before and after it changes."""

import math

import numpy as np
import pytest

from riverrun.bench import index as bench
from serving.scann_index import TREE_FROM

DIMENSION = 8


def test_recall_and_speed_are_measured_through_all_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SEARCHES", 50)
    random = np.random.default_rng(0)
    vectors = random.normal(size=(TREE_FROM + 100, DIMENSION))
    embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    ids = [f"i{number}" for number in range(len(embeddings))]
    stages: list[str] = []
    result = bench.measure_index(
        ids, embeddings, embeddings[:20], pool=30, churn=0.2, seed=1, stage=stages.append
    )
    assert stages == [
        "building", "searching", "upserting", "searching beside upserts",
        "replacing candidates", "building again",
    ]  # fmt: skip
    assert result.churn == 0.2
    for recall in (result.recall, result.recall_after_churn, result.recall_after_rebuild):
        assert 0.99 <= recall <= 1.0
    for speed in (result.idle, result.beside_upserts):
        assert 0 < speed.p50_ms <= speed.p99_ms < math.inf
    assert min(result.build_seconds, result.rebuild_seconds) > 0
    assert min(result.upserts_per_second, result.upserts_beside_searches) > 0
