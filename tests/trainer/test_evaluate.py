"""The table that sets scorers beside each other, and the published figures of the simple ones."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from riverrun.importing import load_preset
from riverrun.protocols import PROTOCOLS
from tests.support.few_events import EVENTS, ITEMS, START, frame
from trainer import evaluate as evaluation
from trainer.baselines import EmbeddingScorer, Popularity, baselines
from trainer.evaluate import EvaluationRow, evaluate
from trainer.tasks import temporal_split

CUT = START + timedelta(hours=10)


@given(EVENTS)
def test_batches_do_not_change_the_table(events: list[tuple[int, int, int]]) -> None:
    split = temporal_split(frame(events), ITEMS, CUT)
    features = np.random.default_rng(0).normal(size=(len(split.past.items), 3)).astype(np.float32)
    whole = [evaluate(s, t, features) for s in baselines(split.past) for t in split.tasks]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "SCORES_PER_BATCH", 1)
        single = [evaluate(s, t, features) for s in baselines(split.past) for t in split.tasks]
    for row, other in zip(whole, single, strict=True):
        assert row.num_users == other.num_users
        assert row.metrics == pytest.approx(other.metrics, nan_ok=True)


def test_a_scorer_that_knows_the_future_is_perfect() -> None:
    split = temporal_split(
        frame([(u, (u + h) % 8, h) for u in range(5) for h in range(20)]), ITEMS, CUT
    )
    every = split.tasks[1]
    future = np.zeros((len(split.past.user_ids), len(split.past.items)), np.float32)
    for user, relevant in zip(every.users, every.relevant, strict=True):
        future[user, relevant] = 1
    oracle = EmbeddingScorer("oracle", future, np.eye(future.shape[1], dtype=np.float32))
    row = evaluate(oracle, every)
    assert (row.scorer, row.task, row.num_users) == ("oracle", "all", 5)
    assert [row.metrics[name] for name in ("ndcg@10", "recall@20", "mrr", "auc", "hit@10")] == (
        pytest.approx([1] * 5)
    )


def test_a_task_without_users_has_no_figures() -> None:
    split = temporal_split(frame([(0, 0, 0)]), ITEMS, CUT)
    row = evaluate(Popularity(split.past), split.tasks[0])
    assert row.num_users == 0
    assert all(np.isnan(value) for value in row.metrics.values())


def rows_of(preset: str, file: Path, count: int) -> dict[tuple[str, str], EvaluationRow]:
    """Ask the first `count` baselines of each task of the preset."""
    protocol = PROTOCOLS[preset]
    split = protocol.test.split(load_preset(preset, file))
    rows = [
        evaluate(fit(split.past, split.histories), task)
        for task in split.tasks
        for fit in protocol.baselines[task.name][:count]
    ]
    return {(row.scorer, row.task): row for row in rows}


@pytest.mark.realdata
def test_online_retail_gives_the_published_figures(real_data: Path) -> None:
    rows = rows_of("online-retail", real_data / "online-retail" / "online_retail.csv.gz", 4)
    published = {
        ("popularity", "novel"): (0.0341, 0.0483),
        ("popularity", "all"): (0.0808, 0.0942),
        # Of 14 days many items have the same number of buyers, and the published figures do not
        # say how they broke ties.
        ("popularity, last 14 days", "novel"): (0.0983, 0.1064),
        ("popularity, last 14 days", "all"): (0.1489, 0.1374),
        ("item-kNN, cosine", "novel"): (0.0690, 0.0843),
        ("item-kNN, cosine", "all"): (0.2547, 0.2632),
        ("EASE, lambda 500", "novel"): (0.0996, 0.1254),
        ("EASE, lambda 100", "all"): (0.2628, 0.2803),
    }
    for key, (ndcg, recall) in published.items():
        row = rows[key]
        assert row.num_users == {"novel": 1_287, "all": 1_394}[row.task]
        assert row.metrics["ndcg@10"] == pytest.approx(ndcg, abs=0.0004), key
        tolerance = 0.0015 if key == ("popularity, last 14 days", "novel") else 0.0002
        assert row.metrics["recall@20"] == pytest.approx(recall, abs=tolerance), key


@pytest.mark.realdata
def test_beauty_gives_the_published_figures(real_data: Path) -> None:
    rows = rows_of("sequences", real_data / "amazon-beauty" / "Beauty.txt.gz", 2)
    published = {"popularity": (0.0120, 0.0056), "item-kNN, cosine": (0.0569, 0.0326)}
    for scorer, (hit_rate, ndcg) in published.items():
        row = rows[scorer, "leave-one-out"]
        assert row.num_users == 22_363
        assert row.metrics["hit@10"] == pytest.approx(hit_rate, abs=0.0002)
        assert row.metrics["ndcg@10"] == pytest.approx(ndcg, abs=0.0001)
