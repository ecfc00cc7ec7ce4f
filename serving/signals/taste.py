"""Which categories, brands and prices a user acts on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.catalogue import CatalogueView
from serving.catalogue_columns import Codes
from serving.item_rows import Rows
from serving.user_acts import UserActs

Floats = npt.NDArray[np.float32]

MIN_SPREAD = 0.3
"""Of logarithms of prices: whoever has bought one thing may pay a third more or less."""


@dataclass(frozen=True, slots=True, eq=False)
class Taste:
    """Shares of a history's events by label, and mean and spread of log(1 + price).

    shares_of_categories, shares_of_brands: float32, by the view's codes, with a 0 in the end for
    all codes that are larger. mean_price: NaN where none is known.
    """

    shares_of_categories: Floats
    shares_of_brands: Floats
    mean_price: float
    price_spread: float

    @classmethod
    def of(cls, acts: UserActs, view: CatalogueView) -> "Taste":
        """Measure the history `acts`; its rows that `view` does not know yet do not count."""
        shown = acts.rows < len(view.prices)
        rows, counts = acts.rows[shown], acts.counts[shown]
        categories, brands = (
            _shares(codes[rows], counts) for codes in (view.categories, view.brands)
        )
        prices = np.log1p(view.prices[rows])
        is_known = ~np.isnan(prices)
        if not is_known.any():
            return cls(categories, brands, np.nan, MIN_SPREAD)
        prices, counts = prices[is_known], counts[is_known]
        total = counts.sum()
        mean = float((prices * counts).sum() / total)
        spread = float(np.sqrt(((prices - mean) ** 2 * counts).sum() / total))
        return cls(categories, brands, mean, max(spread, MIN_SPREAD))

    def category_shares(self, view: CatalogueView, rows: Rows) -> Floats:
        """Return float32 [n], what share of the events was in each row's category."""
        return _at(self.shares_of_categories, view.categories[rows])

    def brand_shares(self, view: CatalogueView, rows: Rows) -> Floats:
        """Return float32 [n], what share of the events was on each row's brand."""
        return _at(self.shares_of_brands, view.brands[rows])

    def price_differences(self, view: CatalogueView, rows: Rows) -> Floats:
        """Return float32 [n], log(1 + price) less the user's mean; 0 where either is unknown."""
        differences = np.log1p(view.prices[rows]) - self.mean_price
        differences[np.isnan(differences)] = 0
        return differences.astype(np.float32)

    def price_fits(self, view: CatalogueView, rows: Rows) -> Floats:
        """Return float32 [n] in 0..1, 1 at the user's mean price and where it is unknown."""
        spreads = self.price_differences(view, rows) / self.price_spread
        return np.asarray(np.exp(-0.5 * spreads**2), dtype=np.float32)


NO_TASTE = Taste(np.zeros(1, np.float32), np.zeros(1, np.float32), np.nan, MIN_SPREAD)


def _shares(codes: Codes, counts: Floats) -> Floats:
    # Of no codes numpy makes integers.
    totals = np.append(np.bincount(codes, counts), 0.0)
    totals /= max(float(totals.sum()), 1.0)
    totals[0] = 0  # no label is no likeness
    return totals.astype(np.float32)


def _at(shares: Floats, codes: Codes) -> Floats:
    return shares[np.minimum(codes, len(shares) - 1)]
