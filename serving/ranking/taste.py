"""Which categories, brands and prices a user acts on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.catalogue import CatalogueView, Codes
from serving.item_rows import Rows
from serving.user_acts import UserActs

Floats = npt.NDArray[np.float32]

MIN_SPREAD = 0.3
"""Of logarithms of prices: whoever has bought one thing may pay a third more or less."""


@dataclass(frozen=True, slots=True, eq=False)
class Taste:
    """Shares of a history's events by label, and mean and spread of log(1 + price)."""

    view: CatalogueView
    acts: UserActs
    mean_price: float
    price_spread: float

    @classmethod
    def of(cls, acts: UserActs, view: CatalogueView) -> "Taste":
        """Measure the history `acts`; its rows that `view` does not know yet do not count."""
        shown = acts.rows < len(view.prices)
        prices = np.log1p(view.prices[acts.rows[shown]])
        counts = acts.counts[shown][~np.isnan(prices)]
        prices = prices[~np.isnan(prices)]
        if not len(prices):
            return cls(view, acts, np.nan, MIN_SPREAD)
        mean = float(np.average(prices, weights=counts))
        spread = float(np.sqrt(np.average((prices - mean) ** 2, weights=counts)))
        return cls(view, acts, mean, max(spread, MIN_SPREAD))

    def category_shares(self, rows: Rows) -> Floats:
        """Return float32 [n], what share of the events was in each row's category."""
        return self._shares(self.view.categories, rows)

    def brand_shares(self, rows: Rows) -> Floats:
        """Return float32 [n], what share of the events was on each row's brand."""
        return self._shares(self.view.brands, rows)

    def price_differences(self, rows: Rows) -> Floats:
        """Return float32 [n], log(1 + price) less the user's mean; 0 where either is unknown."""
        differences = np.log1p(self.view.prices[rows]) - self.mean_price
        return np.asarray(np.nan_to_num(differences), dtype=np.float32)

    def price_fits(self, rows: Rows) -> Floats:
        """Return float32 [n] in 0..1, 1 at the user's mean price and where it is unknown."""
        spreads = self.price_differences(rows) / self.price_spread
        return np.asarray(np.exp(-0.5 * spreads**2), dtype=np.float32)

    def _shares(self, codes: Codes, rows: Rows) -> Floats:
        shown = self.acts.rows < len(codes)
        totals = np.zeros(int(codes.max(initial=0)) + 1, dtype=np.float32)
        np.add.at(totals, codes[self.acts.rows[shown]], self.acts.counts[shown])
        totals /= max(float(totals.sum()), 1.0)
        totals[0] = 0  # no label is no likeness
        return np.asarray(totals[codes[rows]], dtype=np.float32)
