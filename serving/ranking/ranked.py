"""A list before it is re-ranked, and the contract of what makes it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from serving.candidates import NOTHING, Scores
from serving.item_rows import Rows
from serving.sources.candidate_source import Context


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Rows, best first. sources[i] proposed rows[i].

    counted: whether the scores are counts of events, or sums of weights.
    """

    rows: Rows
    scores: Scores
    sources: Sequence[tuple[str, ...]]
    counted: bool = False

    def page(self, offset: int, limit: int) -> "Ranked":
        """Return the part from `offset` on."""
        part = slice(offset, offset + limit)
        return replace(
            self, rows=self.rows[part], scores=self.scores[part], sources=self.sources[part]
        )


NOTHING_RANKED = Ranked(NOTHING.rows, NOTHING.scores, ())


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
