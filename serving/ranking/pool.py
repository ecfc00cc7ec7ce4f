"""What all sources propose for one request, united."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.candidates import Candidates, Scores, no_scores
from serving.item_rows import Rows, grouped
from serving.ranking.fusion import shares
from serving.source_names import SOURCES
from serving.sources.candidate_source import Context


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The candidates of one request: rows ascending, whatever source proposes them.

    scores: what each source says of all of them. proposed_by: int64 [n], bit i is set where the
    i-th of `proposals` proposes the row.
    """

    rows: Rows
    proposals: Mapping[str, Candidates]
    scores: Mapping[str, Scores]
    proposed_by: npt.NDArray[np.int64]

    @classmethod
    def of(cls, proposals: Mapping[str, Candidates], context: Context) -> "Pool":
        """Unite what the sources propose; what has no embedding yet cannot be compared."""
        rows = np.concatenate([np.empty(0, np.int64), *(each.rows for each in proposals.values())])
        bits = np.repeat(
            np.left_shift(1, np.arange(len(proposals))), [len(each) for each in proposals.values()]
        )
        known = context.model.table.has(rows)
        order, starts = grouped(rows[known])
        proposed_by = np.empty(0, np.int64)
        if len(starts):
            proposed_by = np.bitwise_or.reduceat(bits[known][order], starts)
        rows = rows[known][order[starts]]
        scores = {name: each.score_of(rows) for name, each in proposals.items()}
        return cls(rows, proposals, scores, proposed_by)

    def proposers(self, places: Rows) -> list[tuple[str, ...]]:
        """Return which sources propose each of the rows at `places` of the pool."""
        bits_of = self.proposed_by[places].tolist()
        names = {
            bits: tuple(name for bit, name in enumerate(self.proposals) if bits >> bit & 1)
            for bits in set(bits_of)
        }
        return [names[bits] for bits in bits_of]

    def scores_of(self, source: str) -> Scores:
        """Return float32 [n], what one source says of all; 0 where it is off."""
        return self.scores.get(source, no_scores(self.rows))

    def shares(self) -> npt.NDArray[np.float64]:
        """Return `fusion.shares` of the candidates, float64 [n, len(SOURCES)]."""
        return shares(self.rows, self.proposals, SOURCES)
