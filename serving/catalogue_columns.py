"""What the catalogue knows of every row, one array for each thing."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.schema import Item
from feature_repo.times import microseconds
from serving.item_rows import Mask, Rows

UNPUBLISHED = np.iinfo(np.int64).min
"""The publication time of an item without one."""

Codes = npt.NDArray[np.int32]
"""int32 [num_rows], a number for each label; 0 for none."""

CodeOf = Callable[[str | tuple[str, ...]], int]
"""The number of a label."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CatalogueColumns:
    """Arrays over the rows.

    listed, available: bool [num_rows]; published: int64 [num_rows], microseconds; changed:
    int64 [num_rows], the version that upserted or deleted the row, 0 for none. categories,
    paths, brands: int32 [num_rows], equal where items share the most general category, all of
    their categories, or the brand; 0 for none. prices: float32 [num_rows], NaN where unknown.
    hashes: uint64 [num_rows], of the id, the same in every process.
    """

    listed: Mask
    available: Mask
    published: npt.NDArray[np.int64]
    changed: npt.NDArray[np.int64]
    categories: Codes
    paths: Codes
    brands: Codes
    prices: npt.NDArray[np.float32]
    hashes: npt.NDArray[np.uint64]

    @staticmethod
    def empty() -> dict[str, Any]:
        """Return an array without rows for each name."""
        return {name: np.empty(0, default.dtype) for name, default in _WITHOUT_ITEM.items()}

    def copies(self, length: int) -> dict[str, Any]:
        """Return a writable copy of each array by its name, with a place for `length` rows."""
        return {
            name: _grown(getattr(self, name), length, default)
            for name, default in _WITHOUT_ITEM.items()
        }

    def write(self, rows: Rows, items: Sequence[Item], code: CodeOf) -> None:
        """Write each item into its row. The arrays must be copies that no reader holds."""
        self.listed[rows] = True
        self.available[rows] = [item.available for item in items]
        self.published[rows] = [published_of(item) for item in items]
        self.categories[rows] = [code(item.categories[:1]) for item in items]
        self.paths[rows] = [code(item.categories) for item in items]
        self.brands[rows] = [code(item.brand) for item in items]
        self.prices[rows] = [np.nan if item.price is None else item.price for item in items]
        self.hashes[rows] = [_hash(item.item_id) for item in items]


_WITHOUT_ITEM: dict[str, np.generic] = {
    "listed": np.False_,
    "available": np.False_,
    "published": np.int64(UNPUBLISHED),
    "changed": np.int64(0),
    "categories": np.int32(0),
    "paths": np.int32(0),
    "brands": np.int32(0),
    "prices": np.float32(np.nan),
    "hashes": np.uint64(0),
}
"""What each array holds, in its dtype, for rows without an item."""


def _grown(array: npt.NDArray[Any], length: int, default: np.generic) -> npt.NDArray[Any]:
    grown = np.full(length, default)
    grown[: len(array)] = array
    return grown


def _hash(item_id: str) -> int:
    encoded = item_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "big")


def published_of(item: Item) -> int:
    """Return when the item was published, in microseconds, or `UNPUBLISHED`."""
    return UNPUBLISHED if item.published_at is None else microseconds(item.published_at)
