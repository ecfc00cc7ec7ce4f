"""Compares methods on one split: how good, how sure, how varied, how fast."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.cluster.vq import kmeans2

from feature_repo.schema import Item
from trainer import metrics
from trainer.baselines import FitScorer, Scorer, scores_without
from trainer.evaluate import NDCG_AT, RECALL_AT, EvaluationRow, answer, evaluate, summarise
from trainer.slices import slices
from trainer.tasks import EvaluationTask, Split

NDCG, RECALL, HIT_RATE = f"ndcg@{NDCG_AT}", f"recall@{RECALL_AT}", f"hit@{NDCG_AT}"
TIMED_USERS = 200

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


def compare(
    split: Split,
    methods: Methods,
    features: npt.NDArray[np.float32] | None,
    seed: int,
    *,
    labels: sparse.csr_array | None = None,
    with_slices: bool = False,
    report: Report = lambda name, seconds: None,
) -> list[MethodResult]:
    """Fit each method once and ask it each of its tasks, in the order of the split.

    features: float32 [num_items, n] to measure intra-list diversity by. labels: the categories,
    [num_items, num_labels], to count those of a list. A method of several tasks is fitted once for
    all of them; only one is held in memory at a time.
    """
    results: dict[tuple[str, FitScorer], MethodResult] = {}
    for fit in dict.fromkeys(fit for task in split.tasks for fit in methods[task.name]):
        start = time.perf_counter()
        scorer = fit(split.past, split.histories)
        seconds = time.perf_counter() - start
        report(scorer.name, seconds)
        asked = [task for task in split.tasks if fit in methods[task.name]]
        for result in ask(
            scorer,
            split,
            asked,
            features,
            seed,
            seconds,
            labels=labels,
            with_slices=with_slices,
        ):
            results[result.row.task, fit] = result
        del scorer
    return [results[task.name, fit] for task in split.tasks for fit in methods[task.name]]


def ask(
    scorer: Scorer,
    split: Split,
    tasks: Sequence[EvaluationTask],
    features: npt.NDArray[np.float32] | None,
    seed: int,
    fit_seconds: float,
    *,
    labels: sparse.csr_array | None = None,
    with_slices: bool = False,
) -> Iterator[MethodResult]:
    """Ask a scorer that took `fit_seconds` to fit on the past; yield a result for each task."""
    for task in tasks:
        result = _ask(scorer, task, features, labels, seed, fit_seconds)
        if with_slices:
            parts = slices(task, split.past)
            result = replace(result, slices=[evaluate(scorer, part) for part in parts])
        yield result


def tag_features(items: Sequence[Item]) -> npt.NDArray[np.float32]:
    """Return float32 [num_items, num_tags], 1 where the item has the tag."""
    return np.asarray(_labelled([item.tags for item in items]).toarray())


def item_labels(
    items: Sequence[Item], features: npt.NDArray[np.float32] | None, seed: int
) -> tuple[sparse.csr_array, str]:
    """Return [num_items, num_labels], 1 where the item has the label, and what the labels are.

    Labels are categories, each level of a path; else tags; else, where items have nothing but a
    text, groups of similar items by k-means over features [num_items, n]. The number of groups is
    the square root of the number of items.
    """
    if any(item.categories for item in items):
        return _labelled([item.categories for item in items]), "categories"
    if any(item.tags for item in items) or features is None:
        return _labelled([item.tags for item in items]), "tags"
    count = max(round(len(items) ** 0.5), 1)
    _, groups = kmeans2(features.astype(np.float64), count, minit="++", seed=seed)
    return _labelled([(f"{group:06}",) for group in groups.tolist()]), "groups of like texts"


def _labelled(labels: Sequence[Sequence[str]]) -> sparse.csr_array:
    """Return float32 [len(labels), number of distinct ones]."""
    names = sorted({name for own in labels for name in own})
    column = {name: number for number, name in enumerate(names)}
    columns = [column[name] for own in labels for name in set(own)]
    rows = np.repeat(np.arange(len(labels)), [len(set(own)) for own in labels])
    ones = np.ones(len(columns), np.float32)
    return sparse.csr_array((ones, (rows, columns)), shape=(len(labels), len(column)))


def _ask(
    scorer: Scorer,
    task: EvaluationTask,
    features: npt.NDArray[np.float32] | None,
    labels: sparse.csr_array | None,
    seed: int,
    fit_seconds: float,
) -> MethodResult:
    answers = answer(scorer, task)
    by_user = {
        NDCG: [metrics.ndcg(user, NDCG_AT) for user in answers.ranked],
        RECALL: [metrics.recall(user, RECALL_AT) for user in answers.ranked],
        HIT_RATE: [metrics.hit_rate(user, NDCG_AT) for user in answers.ranked],
    }
    # One seed for all: methods are compared on the same draws of users.
    intervals = {
        name: metrics.mean_interval(values, np.random.default_rng(seed))
        for name, values in by_user.items()
    }
    return MethodResult(
        summarise(scorer.name, task, answers, features, labels),
        intervals,
        fit_seconds,
        _ms_per_list(scorer, task, np.random.default_rng(seed)),
    )


def _ms_per_list(scorer: Scorer, task: EvaluationTask, random: np.random.Generator) -> float:
    rows = random.permutation(len(task.users))[:TIMED_USERS]
    seconds = []
    for row in rows:
        start = time.perf_counter()
        scores = scores_without(scorer, task.users[[row]], task.excluded[row : row + 1])
        scores[0, task.excluded[row]] = -np.inf
        metrics.top_k(scores, NDCG_AT)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) * 1e3 if seconds else float("nan")
