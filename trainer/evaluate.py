"""Evaluates scorers on tasks, as rows of a table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from trainer import metrics
from trainer.baselines import Scorer, scores_without
from trainer.tasks import EvaluationTask

NDCG_AT = 10
RECALL_AT = 20
SCORES_PER_BATCH = 8_000_000
"""Users are scored together as long as their scores fit into 32 MB."""


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One scorer on one task; `metrics` by name, means over the users."""

    scorer: str
    task: str
    num_users: int
    metrics: dict[str, float]

    @property
    def named_metrics(self) -> dict[str, float]:
        """The metrics as bundles and gates name them: `task/metric`."""
        return {f"{self.task}/{name}": value for name, value in self.metrics.items()}


@dataclass(frozen=True, slots=True)
class Answers:
    """What a scorer answers to a task, by user.

    ranked: the ranks of the relevant items. lists: int64 [num_users, k], the k <= `NDCG_AT` items
    that are shown, filled up with `metrics.NOBODY` where there are fewer.
    """

    ranked: Sequence[metrics.RankedRelevant]
    lists: npt.NDArray[np.int64]


def answer(scorer: Scorer, task: EvaluationTask) -> Answers:
    """Rank all items for every user of the task."""
    ranked: list[metrics.RankedRelevant] = []
    lists = [np.zeros((0, min(NDCG_AT, len(task.histories.items))), np.int64)]
    batch_size = max(1, SCORES_PER_BATCH // max(1, len(task.histories.items)))
    for start in range(0, len(task.users), batch_size):
        part = slice(start, start + batch_size)
        scores = scores_without(scorer, task.users[part], task.excluded[part])
        batch = zip(scores, task.relevant[part], task.excluded[part], strict=True)
        for row, relevant, excluded in batch:
            ranked.append(metrics.rank_relevant(row, relevant, excluded))
            row[excluded] = -np.inf
        lists.append(metrics.top_k(scores, NDCG_AT))
    return Answers(ranked, np.concatenate(lists))


def ndcgs(ranked: Sequence[metrics.RankedRelevant]) -> npt.NDArray[np.float64]:
    """Return NDCG at `NDCG_AT` of each user, float64 [num_users]."""
    return np.array([metrics.ndcg(user, NDCG_AT) for user in ranked], dtype=np.float64)


def evaluate(
    scorer: Scorer, task: EvaluationTask, features: npt.NDArray[np.float32] | None = None
) -> EvaluationRow:
    """Rank all items for every user of the task, and return the means of the metrics.

    features: float32 [num_items, n] to measure intra-list diversity by, e.g. text embeddings.
    """
    return summarise(scorer.name, task, answer(scorer, task), features)


def summarise(
    name: str,
    task: EvaluationTask,
    answers: Answers,
    features: npt.NDArray[np.float32] | None = None,
    labels: sparse.csr_array | None = None,
) -> EvaluationRow:
    """Return the row of the scorer `name` that gave `answers`; features as in `evaluate`.

    labels: [num_items, num_labels], to count the distinct labels of a list.
    """
    at, ranked, mean = NDCG_AT, answers.ranked, metrics.mean_of
    means = {
        f"ndcg@{at}": mean([metrics.ndcg(user, at) for user in ranked]),
        f"recall@{RECALL_AT}": mean([metrics.recall(user, RECALL_AT) for user in ranked]),
        f"precision@{at}": mean([metrics.precision(user, at) for user in ranked]),
        f"f1@{at}": mean([metrics.f1(user, at) for user in ranked]),
        f"hit@{at}": mean([metrics.hit_rate(user, at) for user in ranked]),
        "mrr": mean([metrics.reciprocal_rank(user) for user in ranked]),
        "auc": mean([metrics.auc(user) for user in ranked]),
    }
    if ranked:
        num_items = len(task.histories.items)
        means[f"coverage@{at}"] = metrics.coverage(answers.lists, num_items)
        means[f"gini@{at}"] = metrics.gini(answers.lists, num_items)
        if features is not None:
            means[f"diversity@{at}"] = metrics.intra_list_diversity(answers.lists, features)
        if labels is not None:
            means[f"categories@{at}"] = metrics.labels_per_list(answers.lists, labels)
    return EvaluationRow(name, task.name, len(ranked), means)
