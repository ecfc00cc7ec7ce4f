"""Small tables of items on top of a large one, as in a log-structured merge tree."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import orjson
import polars as pl

from feature_repo.schema import Item
from serving.filters import ATTRIBUTES, COLUMNS, Filter
from serving.item_rows import Mask, Rows

CACHED_FILTERS = 256
CACHED_ATTRIBUTES = 64
"""A shop of many kinds of things has thousands, and each column takes 17 bytes an item or more."""
FRESH_SIZE = 64
MERGE_FACTOR = 16

K = TypeVar("K")
V = TypeVar("V")

_ROW = "_row"
_DTYPES = {"text": pl.String, "number": pl.Float64, "truth": pl.Boolean}


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """An immutable table of items; `rows` are their row numbers.

    It caches the masks of filters, and the columns of the attributes that they name.
    """

    frame: pl.DataFrame
    rows: Rows
    columns: "OrderedDict[tuple[str, str], pl.Series]" = field(default_factory=OrderedDict)
    masks: "OrderedDict[tuple[str, str, tuple[str, ...]], Mask]" = field(
        default_factory=OrderedDict
    )

    @classmethod
    def of(cls, items: Sequence[Item], rows: Rows) -> "Level":
        """Make a table of distinct items, `rows` being their row numbers."""
        columns: dict[str, list[object]] = {
            name: [getattr(item, name) for item in items] for name in COLUMNS
        }
        moments = (item.published_at for item in items)
        columns["published_at"] = [moment and moment.replace(tzinfo=None) for moment in moments]
        columns["categories"] = [list(item.categories) for item in items]
        columns["tags"] = [list(item.tags) for item in items]
        columns[ATTRIBUTES] = [orjson.dumps(item.attributes).decode() for item in items]
        columns[_ROW] = rows.tolist()
        schema = {**COLUMNS, ATTRIBUTES: pl.String(), _ROW: pl.Int64()}
        return cls(pl.DataFrame(columns, schema=schema), rows)

    def under(self, newer: "Level", listed: Mask) -> "Level":
        """Return one table of both; where both have a row, the one of `newer` is kept.

        Rows of this level that are not listed any more are dropped.
        """
        kept = self.frame.filter(listed[self.rows] & ~np.isin(self.rows, newer.rows))
        frame = pl.concat([kept, newer.frame], rechunk=True)
        return Level(frame, frame[_ROW].to_numpy())

    def without_gone(self, listed: Mask) -> "Level":
        """Return the level; only its listed rows, once more than half of its rows are unlisted."""
        kept = listed[self.rows]
        if 2 * np.count_nonzero(kept) >= len(kept):
            return self
        return Level(self.frame.filter(kept), self.rows[kept])

    def mask(self, filter_: Filter, kinds: tuple[str, ...]) -> Mask:
        """Return bool [len(rows)], where the filter is true.

        kinds: the kinds of the filter's attributes, in the order of the attributes' names.
        """
        key = (filter_.sql, filter_.now, kinds)
        mask = self.masks.get(key)
        if mask is None:
            names = sorted(filter_.attributes)
            columns = [self._attribute(name, kind) for name, kind in zip(names, kinds, strict=True)]
            mask = filter_.evaluate(self.frame.with_columns(columns)).to_numpy()
            remember(self.masks, key, mask)
        return mask

    def _attribute(self, name: str, kind: str) -> pl.Series:
        column = self.columns.get((name, kind))
        if column is None:
            # Not by a JSON path: Polars' paths have no escapes, so that some names have no path.
            decoded = self.frame[ATTRIBUTES].str.json_decode(pl.Struct({name: pl.String()}))
            column = decoded.struct.unnest().to_series()
            if kind == "truth":
                column = column == "true"
            elif kind == "number":
                column = column.cast(_DTYPES[kind], strict=False)
            column = column.alias(f"{ATTRIBUTES}.{name}")
            remember(self.columns, (name, kind), column, CACHED_ATTRIBUTES)
        return column


def merged(levels: tuple[Level, ...], listed: Mask) -> tuple[Level, ...]:
    """Merge levels until each is much larger than the next, so that there are few.

    listed: bool [num_rows]. All rows of the newest level count as listed, whatever it says.
    """
    while len(levels) > 1:
        older, newer = levels[-2:]
        small = older.frame.height + newer.frame.height <= FRESH_SIZE
        if not small and older.frame.height > MERGE_FACTOR * newer.frame.height:
            break
        levels = (*levels[:-2], older.under(newer, listed))
    return levels


def remember(cache: "OrderedDict[K, V]", key: K, value: V, most: int = CACHED_FILTERS) -> None:
    """Keep a value; where there are more than `most`, forget the oldest."""
    cache[key] = value
    while len(cache) > most:
        cache.popitem(last=False)
