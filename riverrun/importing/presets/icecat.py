"""Open Icecat products as Chorus publishes them: `products.jsonl[.gz]`; items only, no events.

Prices are in cents. Attributes lose their type prefix: `attr_t_form_factor` is `form_factor`.
The product type is the category.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from pydantic import ValidationError

from feature_repo.archive import EVENT_SCHEMA
from feature_repo.schema import EARLIEST_TIMESTAMP, MAX_ATTRIBUTES, MAX_LABEL, MAX_TITLE, Item
from riverrun.errors import UserError
from riverrun.importing.presets.data import PresetData, read_bytes
from riverrun.importing.report import ImportReport
from riverrun.importing.text import normalise

PREFIXES = ("attr_t_", "attr_n_", "attr_b_")


def load(path: Path, report: ImportReport) -> PresetData:
    """Read `products.jsonl[.gz]`, or that file of a folder."""
    if path.is_dir():
        path = next(
            (f for f in (path / "products.jsonl.gz", path / "products.jsonl") if f.is_file()), path
        )
    if path.is_dir():
        raise UserError(f"{path}: the folder has no products.jsonl[.gz].")
    items: dict[str, Item] = {}
    for number, line in enumerate(read_bytes(path).splitlines(), start=1):
        if not line.strip():
            continue
        report.read += 1
        text = line.decode("utf-8", "replace")
        try:
            item = _item(orjson.loads(line), report)
        except orjson.JSONDecodeError as error:
            report.reject_one(str(path), number, "line is not JSON", f"{text} ({error})")
        except (KeyError, TypeError, AttributeError, ValueError, ValidationError) as error:
            report.reject_one(str(path), number, "record is no product", f"{text} ({error})")
        else:
            report.skip("same id again", int(item.item_id in items))
            items[item.item_id] = item
    if not items:
        raise UserError(f"{path}: no line is an Icecat product.")
    report.accepted += len(items)
    return PresetData(
        items=list(items.values()), events=pl.DataFrame(schema=EVENT_SCHEMA), report=report
    )


def _item(product: dict[str, Any], report: ImportReport) -> Item:
    attributes: dict[str, str | float | bool] = {}
    for key, value in product.items():
        if key.startswith(PREFIXES) and value is not None and len(attributes) < MAX_ATTRIBUTES:
            name = normalise(key[len("attr_t_") :].replace("_", " ")).replace(" ", "_")
            attributes[name] = normalise(value) if isinstance(value, str) else value
    category = attributes.get("product_type")
    price = product.get("price")
    released = product.get("date_released")
    published_at = datetime.fromisoformat(released) if released else None
    if published_at is not None and published_at < EARLIEST_TIMESTAMP:
        report.repair("date_released before 1990 left out", 1)
        published_at = None
    return Item(
        item_id=product["id"],
        title=normalise(product["title"])[:MAX_TITLE],
        description=normalise(product.get("short_description") or ""),
        categories=(category[:MAX_LABEL],) if isinstance(category, str) and category else (),
        brand=normalise(product.get("supplier") or ""),
        price=None if price is None else price / 100,
        attributes=attributes,
        published_at=published_at,
    )
