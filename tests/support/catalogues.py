"""Items of a catalogue, and which of them a filter allows."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from feature_repo.schema import Item
from serving.catalogue import Catalogue


def item(number: int, **changes: Any) -> Item:
    fields: dict[str, Any] = {
        "item_id": f"i{number}",
        "title": f"Item {number}",
        "brand": ("acme", "O'Neill")[number % 2],
        "price": None if number % 7 == 0 else float(number),
        "categories": (("shoes", "boots") if number % 3 == 0 else ("books",)),
        "tags": ("sale",) if number % 4 == 0 else (),
        "attributes": {"colour": ("red", "blue")[number % 2], "weight": number / 2}
        | ({"new": True} if number % 5 == 0 else {}),
        "available": number % 11 != 0,
        "published_at": datetime(2025, 1 + number % 12, 1, tzinfo=UTC),
    }
    return Item(**(fields | changes))


def allowed(catalogue: Catalogue, sql: str | None) -> set[str]:
    rows = np.flatnonzero(catalogue.view().allowed(sql, NOW))
    return set(catalogue.rows.ids_of(rows).tolist())


NOW = datetime(2025, 7, 15, 12, 30, 20, tzinfo=UTC)
