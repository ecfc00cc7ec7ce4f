"""What a bundle knows of its candidates besides where they stand: numbers that change slowly."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.item_rows import ItemRows, Rows

SIGNALS = ("popularity_month", "popularity_year", "repeat_share", "repeat_days")
"""Users who acted on the item within 30 and 365 days before the bundle's data end; the share of
its users who came back to it; the median days between two of one user's moments on it, or 0."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemSignals:
    """`SIGNALS` over the live rows of the catalogue: float32 [num_rows, 4], 0 where unknown."""

    values: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls, values: npt.NDArray[np.float32], candidate_rows: Rows, rows: ItemRows
    ) -> "ItemSignals":
        """Place the rows of `values`, float32 [num_items, 4], at the candidates' live rows."""
        placed = np.zeros((len(rows), len(SIGNALS)), dtype=np.float32)
        placed[candidate_rows] = values
        return cls(placed)

    def of_rows(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return float32 [n, 4]."""
        known = rows < len(self.values)
        return np.where(known[:, None], self.values[np.where(known, rows, 0)], np.float32(0))


NO_SIGNALS = ItemSignals(np.zeros((1, len(SIGNALS)), dtype=np.float32))
"""Nothing is known of any item."""
