"""A list before it is re-ranked, and the contract of what makes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from serving.candidates import NOTHING, Scores, no_scores
from serving.item_rows import Rows
from serving.sources.candidate_source import Context

Proposers = Callable[[Rows], list[tuple[str, ...]]]
"""Returns which sources propose each of the rows."""


def nobody(rows: Rows) -> list[tuple[str, ...]]:
    """Return that no source proposes any of the rows."""
    return [()] * len(rows)


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Rows, best first. sources[i] proposed rows[i].

    counted: whether the scores are counts of events, or sums of weights. score_of, proposers_of:
    what any rows would score beside these, float32 [n], and who proposes them. Neither depends on
    how many rows were asked for.
    """

    rows: Rows
    scores: Scores
    sources: Sequence[tuple[str, ...]]
    counted: bool = False
    score_of: Callable[[Rows], Scores] = no_scores
    proposers_of: Proposers = nobody

    def page(self, offset: int, limit: int) -> "Ranked":
        """Return the part from `offset` on."""
        part = slice(offset, offset + limit)
        return replace(
            self, rows=self.rows[part], scores=self.scores[part], sources=self.sources[part]
        )


NOTHING_RANKED = Ranked(NOTHING.rows, NOTHING.scores, ())


def said_by(name: str, score_of: Callable[[Rows], Scores], rows: Rows) -> list[tuple[str, ...]]:
    """Return that a source proposes those of the rows that it says something of."""
    return [(name,) if score else () for score in score_of(rows).tolist()]


class ListRanking(Protocol):
    """What ranks one kind of list: for a user, like an item, what trends."""

    def rank(self, context: Context, count: int) -> Ranked:
        """Return up to `count` of the allowed rows; a longer list begins with a shorter one."""
        ...

    def logarithms(self, ranked: Ranked) -> Scores:
        """Return the scores of what `rank` returned, or of a part of it, for boosts to be added to.

        They are logarithms of how probable each row is, up to a constant of the list.
        """
        ...
