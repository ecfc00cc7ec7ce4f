"""How good the lists of each variant are: overall, on new items, and over time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np

from trainer.metrics import RankedRelevant, mean_of, ndcg, recall

NDCG_AT = 10
RECALL_AT = 20
METRICS = {"ndcg": NDCG_AT, "recall": RECALL_AT}
"""The metrics of a `Row`, with the length of the list that each is measured on."""
NOVEL, ALL, NEW_ITEMS = "novel", "all", "novel, items first seen in the period"
SLICES = (NOVEL, ALL, NEW_ITEMS)


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one variant's answer to one question, in one slice."""

    variant: str
    slice: str
    at: datetime
    ndcg: float
    recall: float


class Span(NamedTuple):
    """How long a step of time is, and what it is called."""

    name: str
    days: int


@dataclass(slots=True)
class Scores:
    """All scores of a replay."""

    scores: list[Score] = field(default_factory=list)

    def judge(
        self, variant: str, slice_: str, at: datetime, shown: Sequence[str], relevant: set[str]
    ) -> None:
        """Add the score of the list `shown`, best first, unless nothing is relevant."""
        if not relevant:
            return
        places = [place for place, item_id in enumerate(shown, 1) if item_id in relevant]
        missing = [np.inf] * (len(relevant) - len(places))
        ranked = RankedRelevant(np.array([*places, *missing], dtype=np.float64), len(shown))
        value = ndcg(ranked, NDCG_AT), recall(ranked, RECALL_AT)
        self.scores.append(Score(variant, slice_, at, *value))

    def rows(self) -> list["Row"]:
        """Return the means by slice and variant, in the order of their first appearance."""
        return _means(self.scores, lambda _: None)

    def span(self) -> Span:
        """Return the step of time to show: days up to two weeks, weeks beyond."""
        moments = [score.at for score in self.scores]
        days = (max(moments) - min(moments)).days if moments else 0
        return Span("day", 1) if days < 14 else Span("week", 7)

    def over_time(self, days: int) -> list["Row"]:
        """Return the means over spans of `days`, by slice, variant and the span's first day."""
        if not self.scores:
            return []
        start = min(score.at for score in self.scores)

        def span(score: Score) -> int:
            return (score.at - start).days // days

        return _means(self.scores, span)


@dataclass(frozen=True, slots=True)
class Row:
    """Means over the questions of one slice, variant and span of time (None: all of it)."""

    slice: str
    variant: str
    span: int | None
    questions: int
    ndcg: float
    recall: float


def _means(scores: Iterable[Score], span: Callable[[Score], int | None]) -> list[Row]:
    groups: dict[tuple[str, str, int | None], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.slice, score.variant, span(score)), []).append(score)
    return [
        Row(
            *key,
            len(group),
            mean_of([score.ndcg for score in group]),
            mean_of([score.recall for score in group]),
        )
        for key, group in groups.items()
    ]
