"""Methods beside each other on one split: how good, how sure, how varied, how fast."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from trainer import metrics
from trainer.baselines import FitScorer, Scorer, scores_without
from trainer.evaluate import NDCG_AT, RECALL_AT, Answers, EvaluationRow, answer, evaluate, summarise
from trainer.slices import slices
from trainer.tasks import EvaluationTask, Split

NDCG, RECALL, HIT_RATE = f"ndcg@{NDCG_AT}", f"recall@{RECALL_AT}", f"hit@{NDCG_AT}"
TIMED_USERS = 200
SEED = 7
"""One for all methods: they are compared on the same draws of users."""

Methods = Mapping[str, Sequence[FitScorer]]
"""The methods to compare, by the name of the task."""

Report = Callable[[str, float], None]
"""Hears the name of a method that was fitted, and the seconds that it took."""


@dataclass(frozen=True, slots=True)
class MethodResult:
    """One method on one task.

    intervals: of NDCG, recall and hit rate, 95 % by bootstrap over the users. fit_seconds: wall
    clock, including the time to look the users up. ms_per_list: the median over users of
    scoring all items and choosing the list, one user at a time. slices: the rows of the parts of
    the task, users' before items', if asked for.
    """

    row: EvaluationRow
    intervals: Mapping[str, tuple[float, float]]
    fit_seconds: float
    ms_per_list: float
    slices: Sequence[EvaluationRow] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """How the lists of every method are measured.

    features: float32 [num_items, n] to measure intra-list diversity by. labels: the categories,
    [num_items, num_labels], to count those of a list. with_slices: whether also by how much is
    known of the user and of the item.
    """

    features: npt.NDArray[np.float32] | None = None
    labels: sparse.csr_array | None = None
    with_slices: bool = False

    def of(
        self, scorer: Scorer, split: Split, tasks: Sequence[EvaluationTask], fit_seconds: float
    ) -> Iterator[MethodResult]:
        """Ask a scorer that took `fit_seconds` to fit on the past; yield a result for each task."""
        for task in tasks:
            answers = answer(scorer, task)
            parts = slices(task, split.past) if self.with_slices else ()
            yield MethodResult(
                summarise(scorer.name, task, answers, self.features, self.labels),
                _intervals(answers),
                fit_seconds,
                _ms_per_list(scorer, task),
                tuple(evaluate(scorer, part) for part in parts),
            )


def compare(
    split: Split,
    methods: Methods,
    measures: Measures,
    report: Report = lambda name, seconds: None,
) -> list[MethodResult]:
    """Fit each method once and ask it each of its tasks, in the order of the split.

    A method of several tasks is fitted once for all of them; only one is held in memory at a time.
    """
    results: dict[tuple[str, FitScorer], MethodResult] = {}
    for fit in dict.fromkeys(fit for task in split.tasks for fit in methods[task.name]):
        start = time.perf_counter()
        scorer = fit(split.past, split.histories)
        seconds = time.perf_counter() - start
        report(scorer.name, seconds)
        asked = [task for task in split.tasks if fit in methods[task.name]]
        for result in measures.of(scorer, split, asked, seconds):
            results[result.row.task, fit] = result
        del scorer
    return [results[task.name, fit] for task in split.tasks for fit in methods[task.name]]


def _intervals(answers: Answers) -> dict[str, tuple[float, float]]:
    by_user = {
        NDCG: [metrics.ndcg(user, NDCG_AT) for user in answers.ranked],
        RECALL: [metrics.recall(user, RECALL_AT) for user in answers.ranked],
        HIT_RATE: [metrics.hit_rate(user, NDCG_AT) for user in answers.ranked],
    }
    return {
        name: metrics.mean_interval(values, np.random.default_rng(SEED))
        for name, values in by_user.items()
    }


def _ms_per_list(scorer: Scorer, task: EvaluationTask) -> float:
    rows = np.random.default_rng(SEED).permutation(len(task.users))[:TIMED_USERS]
    seconds = []
    for row in rows:
        start = time.perf_counter()
        scores = scores_without(scorer, task.users[[row]], task.excluded[row : row + 1])
        scores[0, task.excluded[row]] = -np.inf
        metrics.top_k(scores, NDCG_AT)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) * 1e3 if seconds else float("nan")
