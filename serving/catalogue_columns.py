"""What the catalogue knows of every row, one array for each thing."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

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


class _Column(NamedTuple):
    """default: the value of rows without an item. read: gives an item's value, or None."""

    dtype: type[np.generic]
    default: float
    read: Callable[[Item, CodeOf], float] | None


def _column(
    dtype: type[np.generic], default: float, read: Callable[[Item, CodeOf], float] | None
) -> dict[str, _Column]:
    return {"column": _Column(dtype, default, read)}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CatalogueColumns:
    """Arrays over the rows.

    listed, available: bool [num_rows]; published: int64 [num_rows], microseconds; changed:
    int64 [num_rows], the version that upserted or deleted the row, 0 for none. categories,
    paths, brands: int32 [num_rows], equal where items share the most general category, all of
    their categories, or the brand; 0 for none. prices: float32 [num_rows], NaN where unknown.
    hashes: uint64 [num_rows], of the id, the same in every process.
    """

    listed: Mask = field(metadata=_column(np.bool_, False, lambda item, code: True))
    available: Mask = field(metadata=_column(np.bool_, False, lambda item, code: item.available))
    published: npt.NDArray[np.int64] = field(
        metadata=_column(np.int64, UNPUBLISHED, lambda item, code: published_of(item))
    )
    changed: npt.NDArray[np.int64] = field(metadata=_column(np.int64, 0, None))
    categories: Codes = field(
        metadata=_column(np.int32, 0, lambda item, code: code(item.categories[:1]))
    )
    paths: Codes = field(metadata=_column(np.int32, 0, lambda item, code: code(item.categories)))
    brands: Codes = field(metadata=_column(np.int32, 0, lambda item, code: code(item.brand)))
    prices: npt.NDArray[np.float32] = field(
        metadata=_column(
            np.float32, np.nan, lambda item, code: np.nan if item.price is None else item.price
        )
    )
    hashes: npt.NDArray[np.uint64] = field(
        metadata=_column(np.uint64, 0, lambda item, code: _hash(item.item_id))
    )

    @staticmethod
    def empty() -> dict[str, Any]:
        """Return an array without rows for each name."""
        return {name: np.empty(0, column.dtype) for name, column in _columns()}

    def copies(self, length: int) -> dict[str, Any]:
        """Return a writable copy of each array by its name, with a place for `length` rows."""
        return {
            name: _grown(getattr(self, name), length, column.default) for name, column in _columns()
        }

    def write(self, rows: Rows, items: Sequence[Item], code: CodeOf) -> None:
        """Write each item into its row. The arrays must be copies that no reader holds."""
        for name, column in _columns():
            if column.read is not None:
                getattr(self, name)[rows] = [column.read(item, code) for item in items]


def _columns() -> Iterator[tuple[str, _Column]]:
    return ((each.name, each.metadata["column"]) for each in fields(CatalogueColumns))


def _grown(array: npt.NDArray[Any], length: int, default: float) -> npt.NDArray[Any]:
    grown = np.full(length, default, dtype=array.dtype)
    grown[: len(array)] = array
    return grown


def _hash(item_id: str) -> int:
    encoded = item_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "big")


def published_of(item: Item) -> int:
    """Return when the item was published, in microseconds, or `UNPUBLISHED`."""
    return UNPUBLISHED if item.published_at is None else microseconds(item.published_at)
