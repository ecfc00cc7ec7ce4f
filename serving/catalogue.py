"""The live table of items: what is known, what may be shown, and what a filter allows."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

import numpy as np
from pydantic_core import from_json

from feature_repo.schema import Item
from serving.attribute_kinds import AttributeKinds
from serving.catalogue_columns import CatalogueColumns
from serving.catalogue_levels import Level, merged, remember
from serving.filters import Filter, FilterError, compile_filter, now_of
from serving.item_rows import ItemRows, Mask, Rows

SNAPSHOT_BATCH = 4096


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CatalogueView(CatalogueColumns):
    """The catalogue at one moment; later changes make another view."""

    version: int = 0
    levels: tuple[Level, ...] = ()
    attribute_kinds: dict[str, str] = field(default_factory=dict)
    masks: "OrderedDict[tuple[str, str], Mask]" = field(default_factory=OrderedDict)

    def allowed(self, sql: str | None, at: datetime) -> Mask:
        """Return which rows are available and pass the filter at a moment.

        Raises `FilterError`.
        """
        if sql is None:
            return self.available
        key = (sql, now_of(sql, at))
        mask = self.masks.get(key)
        if mask is None:
            mask = self._evaluate(compile_filter(*key)) & self.available
            remember(self.masks, key, mask)
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
            mask[level.rows] = level.mask(filter_, tuple(kinds))
        return mask

    def grown(self, length: int) -> "CatalogueView":
        """Return a writable copy, one version on, with a place for `length` rows."""
        return CatalogueView(
            **self.copies(length),
            version=self.version + 1,
            levels=self.levels,
            attribute_kinds=self.attribute_kinds,
        )


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
        self._view = CatalogueView(**CatalogueView.empty())

    def __len__(self) -> int:
        return len(self._documents)

    def __contains__(self, item_id: str) -> bool:
        return self.document(item_id) is not None

    def view(self) -> CatalogueView:
        """Return the catalogue as it is now."""
        return self._view

    def get(self, item_id: str) -> Item | None:
        """Return the item, or None."""
        document = self.document(item_id)
        return None if document is None else Item.model_validate_json(document)

    def document(self, item_id: str) -> bytes | None:
        """Return the item as JSON, or None."""
        rows = self.rows.known((item_id,))
        return self._documents.get(int(rows[0])) if len(rows) else None

    def titles(self, item_ids: Iterable[str]) -> list[str]:
        """Return the title of each item; its id where it has none."""
        items = [self.get(item_id) or Item(item_id=item_id) for item_id in item_ids]
        return [item.title or item.item_id for item in items]

    def page(self, offset: int, limit: int) -> list[bytes]:
        """Return a page of the items, each as JSON, in order of their arrival."""
        rows = np.flatnonzero(self._view.listed)[offset : offset + limit]
        return self._documents_of(rows)

    def changed_since(self, version: int) -> tuple[list[Item], list[str]]:
        """Return the items upserted, and the ids deleted, after `view().version` was `version`.

        Items that `load_snapshot` has brought do not count as changed.
        """
        view = self._view
        rows = np.flatnonzero(view.changed > version)
        documents = self._documents_of(rows[view.listed[rows]])
        upserted = [Item.model_validate_json(document) for document in documents]
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

        Upserts and deletions are newer than any snapshot and stay. Items that only an earlier
        snapshot held are removed.
        """
        with self._lock:
            loaded = [self._load(batch) for batch in _batches(items)]
            view = self._grown()
            stale = view.listed & (view.changed == 0)
            for rows in loaded:
                stale[rows] = False
            self._view = self._without(view, np.flatnonzero(stale))

    def _documents_of(self, rows: Rows) -> list[bytes]:
        # An item may have gone since the view was taken.
        documents = (self._documents.get(row) for row in rows.tolist())
        return [document for document in documents if document is not None]

    def _load(self, items: Sequence[Item]) -> Rows:
        """Upsert the items that were never upserted or deleted by a change; return all rows."""
        latest = {item.item_id: item for item in items}
        rows = self.rows.add(list(latest))
        view = self._grown()
        # Most items are as in the snapshot before: their tables stay, with the masks of filters.
        new = view.changed[rows] == 0
        new &= [self._differs(*pair) for pair in zip(rows.tolist(), latest.values(), strict=True)]
        if new.any():
            kept = [item for item, keep in zip(latest.values(), new, strict=True) if keep]
            self._view = self._with(view, kept, rows[new])
        return rows

    def _differs(self, row: int, item: Item) -> bool:
        document = self._documents.get(row)
        return document is None or document != item.model_dump_json().encode()

    def delete(self, item_ids: Sequence[str]) -> None:
        """Remove items; an unknown id is no error."""
        with self._lock:
            # Of unknown ids too: a snapshot that comes later may hold them.
            rows = self.rows.add(list(dict.fromkeys(item_ids)))
            if not len(rows):
                return
            view = self._grown()
            view.changed[rows] = view.version
            self._view = self._without(view, rows)

    def _with(self, view: CatalogueView, items: Sequence[Item], rows: Rows) -> CatalogueView:
        documents = [item.model_dump_json().encode() for item in items]
        levels = merged((*view.levels, Level.of(items, rows)), view.listed)
        view.write(rows, items, self._code)
        # Last: if no table can be made of the items, nothing of them must be left behind.
        for row, item, document in zip(rows.tolist(), items, documents, strict=True):
            if document != self._documents.get(row):
                self._count_out(row)
                self._kinds.add(item.attributes)
                self._documents[row] = document
        return replace(view, levels=levels, attribute_kinds=self._kinds.kinds())

    def _code(self, label: str | tuple[str, ...]) -> int:
        return self._codes.setdefault(label, len(self._codes) + 1) if label else 0

    def _without(self, view: CatalogueView, rows: Rows) -> CatalogueView:
        view.listed[rows] = False
        view.available[rows] = False
        for row in rows.tolist():
            self._count_out(row)
            self._documents.pop(row, None)
        levels = tuple(level.without_gone(view.listed) for level in view.levels)
        return replace(view, levels=levels, attribute_kinds=self._kinds.kinds())

    def _count_out(self, row: int) -> None:
        document = self._documents.get(row)
        if document is not None:
            # Not by orjson, which refuses integers beyond a float: an unknown field may hold one.
            self._kinds.remove(from_json(document)["attributes"])

    def _grown(self) -> CatalogueView:
        return self._view.grown(len(self.rows))


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while batch := list(islice(rest, SNAPSHOT_BATCH)):
        yield batch
