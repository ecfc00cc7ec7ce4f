"""What a bundle knows of its candidates besides where they stand: numbers that change slowly."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.times import DAY, WEEK
from serving.item_rows import ItemRows, Rows

POPULARITY_DAYS = (3, 7, 14, 30, 60, 365)

RHYTHMS = ("day_sin", "day_cos", "week_sin", "week_cos")
"""When an item is acted on, beside all others: the mean place of its events on the circle of the
day and on that of the week, less that of all events, drawn to 0 where there are few."""

SIGNALS = (
    *(f"popularity_{days}_days" for days in POPULARITY_DAYS),
    "repeat_share",
    "repeat_days",
    *RHYTHMS,
)
"""Users who acted on the item within so many days before the bundle's data end; the share of its
users who came back for another visit (`user_acts.VISIT`); the median days between two visits of one
user, or 0. Of these two, users and visits are those that take the item (`LiveRanking.taking`)."""


def on_the_circles(
    timestamps: npt.NDArray[np.int64] | np.int64,
) -> npt.NDArray[np.float64]:
    """Return float64 [..., len(RHYTHMS)], where in their day and week, of UTC, the moments are.

    timestamps: int64 [...], microseconds since 1970 UTC.
    """
    day, week = (2 * np.pi * (timestamps / length) for length in (DAY, WEEK))
    return np.stack([np.sin(day), np.cos(day), np.sin(week), np.cos(week)], axis=-1)


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
        values = self.values.take(np.where(known, rows, 0), axis=0)
        values[~known] = 0
        return values


NO_SIGNALS = ItemSignals(np.zeros((1, len(SIGNALS)), dtype=np.float32))
"""Nothing is known of any item."""
