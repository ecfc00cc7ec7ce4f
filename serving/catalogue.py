"""The live table of items: what is known, what may be shown, and what a filter allows."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from feature_repo.schema import Item, microseconds
from serving.attribute_kinds import AttributeKinds
from serving.filters import ATTRIBUTES, COLUMNS, Filter, FilterError, compile_filter
from serving.item_rows import ItemRows, Mask, Rows

UNPUBLISHED = np.iinfo(np.int64).min
"""The publication time of an item without one."""

CACHED_FILTERS = 256
FRESH_SIZE = 64
SNAPSHOT_BATCH = 4096
MERGE_FACTOR = 16

T = TypeVar("T", bound=np.generic)
K = TypeVar("K")

Codes = npt.NDArray[np.int32]
"""int32 [num_rows], a number for each label; 0 for none."""

_ROW = "_row"
_DTYPES = {"text": pl.String, "number": pl.Float64, "truth": pl.Boolean}


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """An immutable table of some items. `rows` are their numbers; masks are kept per filter."""

    frame: pl.DataFrame
    rows: Rows
    columns: dict[tuple[str, str], pl.Series] = field(default_factory=dict)
    masks: "OrderedDict[tuple[str, tuple[str, ...]], Mask]" = field(default_factory=OrderedDict)


@dataclass(frozen=True, slots=True, eq=False)
class CatalogueView:
    """The catalogue at one moment; later changes make another view.

    listed, available: bool [num_rows]; published: int64 [num_rows], microseconds; changed:
    int64 [num_rows], the version that upserted or deleted the row, 0 for none. categories,
    paths, brands: int32 [num_rows], equal where items share the most general category, all of
    their categories, or the brand; 0 for none. prices: float32 [num_rows], NaN where unknown.
    """

    version: int
    listed: Mask
    available: Mask
    published: npt.NDArray[np.int64]
    changed: npt.NDArray[np.int64]
    categories: Codes
    paths: Codes
    brands: Codes
    prices: npt.NDArray[np.float32]
    levels: tuple[_Level, ...]
    attribute_kinds: dict[str, str]
    masks: "OrderedDict[str, Mask]" = field(default_factory=OrderedDict)

    def allowed(self, sql: str | None) -> Mask:
        """Return which rows are available and pass the filter. Raises `FilterError`."""
        if sql is None:
            return self.available
        mask = self.masks.get(sql)
        if mask is None:
            mask = self._evaluate(compile_filter(sql)) & self.available
            _remember(self.masks, sql, mask)
        return mask

    def _evaluate(self, filter_: Filter) -> Mask:
        kinds: list[str] = []
        for name in sorted(filter_.attributes):
            if name not in self.attribute_kinds:
                raise FilterError(f"names `attributes.{name}`, which no item has.", filter_.sql)
            kinds.append(self.attribute_kinds[name])
        mask = np.zeros(len(self.listed), dtype=np.bool_)
        # A newer level replaces what an older one says of the same row.
        for level in self.levels:
            mask[level.rows] = _evaluate_level(level, filter_, tuple(kinds))
        return mask


class Catalogue:
    """Items by id, with filters. Safe for many readers beside writers.

    New and changed items go into small tables on top of a large one (levels, as in a
    log-structured merge tree), so that a change never rebuilds the whole, and a filter's mask
    of the large table outlives it.
    """

    def __init__(self, rows: ItemRows | None = None) -> None:
        self.rows = ItemRows() if rows is None else rows
        self._documents: dict[int, bytes] = {}
        self._codes: dict[object, int] = {}
        self._kinds = AttributeKinds()
        self._lock = threading.Lock()
        nothing = np.zeros(0, dtype=np.bool_)
        numbers = np.zeros(0, dtype=np.int64)
        codes = np.zeros(0, dtype=np.int32)
        self._view = CatalogueView(
            version=0,
            listed=nothing,
            available=nothing,
            published=numbers,
            changed=numbers,
            categories=codes,
            paths=codes,
            brands=codes,
            prices=np.zeros(0, dtype=np.float32),
            levels=(),
            attribute_kinds={},
        )

    def __len__(self) -> int:
        return len(self._documents)

    def __contains__(self, item_id: str) -> bool:
        return self.get(item_id) is not None

    def view(self) -> CatalogueView:
        """Return the catalogue as it is now."""
        return self._view

    def get(self, item_id: str) -> Item | None:
        """Return the item, or None."""
        rows = self.rows.known((item_id,))
        document = self._documents.get(int(rows[0])) if len(rows) else None
        return None if document is None else Item.model_validate_json(document)

    def titles(self, item_ids: Iterable[str]) -> list[str]:
        """Return the title of each item; its id where it has none."""
        items = [self.get(item_id) or Item(item_id=item_id) for item_id in item_ids]
        return [item.title or item.item_id for item in items]

    def page(self, offset: int, limit: int) -> list[Item]:
        """Return a page of the items in order of their arrival."""
        rows = np.flatnonzero(self._view.listed)[offset : offset + limit]
        documents = (self._documents.get(row) for row in rows.tolist())
        return [Item.model_validate_json(document) for document in documents if document]

    def changed_since(self, version: int) -> tuple[list[Item], list[str]]:
        """Return the items upserted, and the ids deleted, after `view().version` was `version`.

        What came with `load_snapshot` does not count as a change.
        """
        view = self._view
        rows = np.flatnonzero(view.changed > version)
        documents = (self._documents.get(row) for row in rows[view.listed[rows]].tolist())
        upserted = [Item.model_validate_json(document) for document in documents if document]
        return upserted, self.rows.ids_of(rows[~view.listed[rows]]).tolist()

    def upsert(self, items: Sequence[Item]) -> None:
        """Insert or replace items. The last of several with one id wins."""
        latest = list({item.item_id: item for item in items}.values())
        if not latest:
            return
        with self._lock:
            rows = self.rows.add([item.item_id for item in latest])
            view = self._grown()
            view.changed[rows] = view.version
            self._view = self._with(view, latest, rows)

    def load_snapshot(self, items: Iterable[Item]) -> None:
        """Take over a bundle's snapshot of the catalogue.

        Upserts and deletions are newer than any snapshot and stay. What only an earlier
        snapshot knew is removed.
        """
        with self._lock:
            loaded = [self._load(batch) for batch in _batches(items)]
            view = self._grown()
            stale = view.listed & (view.changed == 0)
            for rows in loaded:
                stale[rows] = False
            self._view = self._without(view, np.flatnonzero(stale))

    def _load(self, items: Sequence[Item]) -> Rows:
        """Upsert those of the items that no change has touched; return the rows of all."""
        latest = {item.item_id: item for item in items}
        rows = self.rows.add(list(latest))
        view = self._grown()
        untouched = view.changed[rows] == 0
        kept = [item for item, keep in zip(latest.values(), untouched, strict=True) if keep]
        if kept:
            self._view = self._with(view, kept, rows[untouched])
        return rows

    def delete(self, item_ids: Sequence[str]) -> None:
        """Remove items; an unknown id is no error."""
        with self._lock:
            rows = self.rows.add(list(dict.fromkeys(item_ids)))
            if not len(rows):
                return
            view = self._grown()
            view.changed[rows] = view.version
            self._view = self._without(view, rows)

    def _with(self, view: CatalogueView, items: Sequence[Item], rows: Rows) -> CatalogueView:
        documents = [item.model_dump_json().encode() for item in items]
        levels = _merged((*view.levels, _level(items, rows)))
        view.listed[rows] = True
        view.available[rows] = [item.available for item in items]
        view.published[rows] = [_published(item.published_at) for item in items]
        view.categories[rows] = [self._code(item.categories[:1]) for item in items]
        view.paths[rows] = [self._code(item.categories) for item in items]
        view.brands[rows] = [self._code(item.brand) for item in items]
        view.prices[rows] = [np.nan if item.price is None else item.price for item in items]
        # Last, so that items of which no table can be made leave no trace.
        for row, item, document in zip(rows.tolist(), items, documents, strict=True):
            known = self._documents.get(row)
            if document != known:  # A snapshot is mostly what the one before was.
                self._count_out(known)
                self._kinds.add(item.attributes)
                self._documents[row] = document
        return replace(view, levels=levels, attribute_kinds=self._kinds.kinds())

    def _code(self, label: str | tuple[str, ...]) -> int:
        return self._codes.setdefault(label, len(self._codes) + 1) if label else 0

    def _without(self, view: CatalogueView, rows: Rows) -> CatalogueView:
        view.listed[rows] = False
        view.available[rows] = False
        for row in rows.tolist():
            self._count_out(self._documents.pop(row, None))
        return replace(view, attribute_kinds=self._kinds.kinds())

    def _count_out(self, document: bytes | None) -> None:
        if document is not None:
            self._kinds.remove(orjson.loads(document)["attributes"])

    def _grown(self) -> CatalogueView:
        """Return a writable copy of the view, one version on, with a place for every row."""
        old, length = self._view, len(self.rows)
        return CatalogueView(
            version=old.version + 1,
            listed=_copy(old.listed, length, False),
            available=_copy(old.available, length, False),
            published=_copy(old.published, length, UNPUBLISHED),
            changed=_copy(old.changed, length, 0),
            categories=_copy(old.categories, length, 0),
            paths=_copy(old.paths, length, 0),
            brands=_copy(old.brands, length, 0),
            prices=_copy(old.prices, length, np.nan),
            levels=old.levels,
            attribute_kinds=old.attribute_kinds,
        )


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while batch := list(islice(rest, SNAPSHOT_BATCH)):
        yield batch


def _copy(array: "npt.NDArray[T]", length: int, fill: float) -> "npt.NDArray[T]":
    copy = np.full(length, fill, dtype=array.dtype)
    copy[: len(array)] = array
    return copy


def _published(moment: datetime | None) -> int:
    return UNPUBLISHED if moment is None else microseconds(moment)


def _level(items: Sequence[Item], rows: Rows) -> _Level:
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
    return _Level(pl.DataFrame(columns, schema=schema), rows)


def _merged(levels: tuple[_Level, ...]) -> tuple[_Level, ...]:
    """Merge levels until each is much larger than the next, so that there are few."""
    while len(levels) > 1:
        older, newer = levels[-2:]
        small = older.frame.height + newer.frame.height <= FRESH_SIZE
        if not small and older.frame.height > MERGE_FACTOR * newer.frame.height:
            break
        # Newer rows replace older ones.
        kept = older.frame.filter(~np.isin(older.rows, newer.rows))
        frame = pl.concat([kept, newer.frame], rechunk=True)
        levels = (*levels[:-2], _Level(frame, frame[_ROW].to_numpy()))
    return levels


def _evaluate_level(level: _Level, filter_: Filter, kinds: tuple[str, ...]) -> Mask:
    key = (filter_.sql, kinds)
    mask = level.masks.get(key)
    if mask is None:
        names = sorted(filter_.attributes)
        columns = [_attribute(level, name, kind) for name, kind in zip(names, kinds, strict=True)]
        mask = filter_.evaluate(level.frame.with_columns(columns)).to_numpy()
        _remember(level.masks, key, mask)
    return mask


def _attribute(level: _Level, name: str, kind: str) -> pl.Series:
    column = level.columns.get((name, kind))
    if column is None:
        path = "$[" + orjson.dumps(name).decode() + "]"
        column = level.frame[ATTRIBUTES].str.json_path_match(path)
        if kind == "truth":
            column = column == "true"
        elif kind == "number":
            column = column.cast(_DTYPES[kind], strict=False)
        column = column.alias(f"{ATTRIBUTES}.{name}")
        level.columns[name, kind] = column
    return column


def _remember(cache: "OrderedDict[K, Mask]", key: K, mask: Mask) -> None:
    cache[key] = mask
    while len(cache) > CACHED_FILTERS:
        cache.popitem(last=False)
