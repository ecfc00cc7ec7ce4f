"""What a bundle knows of its candidates besides where they stand: numbers that change slowly."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.item_rows import ItemRows, Rows

POPULARITY_DAYS = (3, 7, 14, 30, 60, 365)

SIGNALS = (*(f"popularity_{days}_days" for days in POPULARITY_DAYS), "repeat_share", "repeat_days")
"""Users who acted on the item within so many days before the bundle's data end; the share of its
users who came back to it; the median days between two of one user's moments on it, or 0."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemSignals:
    """`SIGNALS` over the live rows: float32 [num_rows, len(SIGNALS)], 0 where unknown."""

    values: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls, values: npt.NDArray[np.float32], candidate_rows: Rows, rows: ItemRows
    ) -> "ItemSignals":
        """Place the rows of `values`, [num_items, len(SIGNALS)], at the candidates' live rows."""
        placed = np.zeros((len(rows), len(SIGNALS)), dtype=np.float32)
        placed[candidate_rows] = values
        return cls(placed)

    def of_rows(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return float32 [n, len(SIGNALS)]."""
        known = rows < len(self.values)
        return np.where(known[:, None], self.values[np.where(known, rows, 0)], np.float32(0))


NO_SIGNALS = ItemSignals(np.zeros((1, len(SIGNALS)), dtype=np.float32))
"""Nothing is known of any item."""
