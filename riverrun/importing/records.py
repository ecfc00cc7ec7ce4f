"""Raw rows to clean items and users, a row at a time, validated by the schema at the end."""

from collections.abc import Callable
from typing import Any, TypeVar

import polars as pl
from pydantic import ValidationError

from feature_repo.first_error import FirstError
from feature_repo.schema import (
    MAX_CATEGORIES,
    MAX_DESCRIPTION,
    MAX_LABEL,
    MAX_PRICE,
    MAX_TAGS,
    MAX_TITLE,
    NO_OWN_ADDRESS,
    Item,
    User,
    has_own_address,
)
from riverrun.importing import values
from riverrun.importing.attributes import attributes_of, raw_attributes
from riverrun.importing.fields import fields_of
from riverrun.importing.labels import labels
from riverrun.importing.mapping import ItemsMapping, UsersMapping, source_columns
from riverrun.importing.nested import not_text, note_names_inside
from riverrun.importing.raw_files import RawBatch
from riverrun.importing.report import LINE, REASON, SAME_AGAIN, ImportReport

Row = dict[str, Any]
RecordT = TypeVar("RecordT")


def clean_items(
    batch: RawBatch, mapping: ItemsMapping, report: ImportReport
) -> dict[str, Item | None]:
    """Return the items of `batch` by id; of several with the same id, the last.

    None is an item that is to be deleted.
    """
    read = batch.frame.select(LINE, **fields_of(mapping, batch))
    for name, switch in (("available", values.switch), ("deleted", values.truth)):
        if name in read.columns:
            word = pl.col(name)
            read = read.with_columns(
                switch(word).alias(name), (word.str.strip_chars() != "").alias(f"{name}_given")
            )
    if mapping.published_at is not None:
        moment = pl.col("published_at")
        read = read.with_columns(pl.when(values.plausible(moment)).then(moment))

    def build(row: Row, cells: Row, attributes: Row) -> Item | None:
        if row.get("deleted"):
            return None
        return _item(row, cells, attributes, mapping, report)

    return _records(batch, read, mapping, build, report)


def clean_users(batch: RawBatch, mapping: UsersMapping, report: ImportReport) -> list[User]:
    """Return the users of `batch`; of several with the same id, the last."""

    def build(row: Row, _cells: Row, attributes: Row) -> User:
        return User.model_validate({"user_id": row["user_id"], "attributes": attributes})

    read = batch.frame.select(LINE, **fields_of(mapping, batch))
    return list(_records(batch, read, mapping, build, report).values())


def _records(
    batch: RawBatch,
    read: pl.DataFrame,
    mapping: ItemsMapping | UsersMapping,
    build: Callable[[Row, Row, Row], RecordT],
    report: ImportReport,
) -> dict[str, RecordT]:
    key = "item_id" if isinstance(mapping, ItemsMapping) else "user_id"
    columns = getattr(mapping, key).in_order
    records: dict[str, RecordT] = {}
    reasons: list[str | None] = []
    cells = batch.frame.select(LINE, *source_columns(mapping)).iter_rows(named=True)
    maps = raw_attributes(batch, mapping.attributes)
    for row, raw, found in zip(read.iter_rows(named=True), cells, maps, strict=True):
        reason = None
        try:
            if row[f"{key}_nested"]:
                reason = not_text(key, columns)
                note_names_inside(columns, report)
            elif row[key] is None:
                reason = f"no {key}"
            elif key == "item_id" and not has_own_address(row[key]):
                reason = f"{key}: {NO_OWN_ADDRESS}"
            else:
                record = build(row, raw, attributes_of(found, report))
                report.skip(SAME_AGAIN.format(key), int(row[key] in records))
                records.pop(row[key], None)
                records[row[key]] = record
        except ValidationError as error:
            first = FirstError.of(error)
            # Without the value, which is in the row, equal reasons are counted together.
            reason = f"{first.field}: {first.reason}"
        reasons.append(reason)
    bad = batch.frame.with_columns(pl.Series(REASON, reasons, dtype=pl.String)).filter(
        pl.col(REASON).is_not_null()
    )
    report.reject(str(batch.file), bad)
    return records


def _item(
    row: Row, cells: Row, attributes: Row, mapping: ItemsMapping, report: ImportReport
) -> Item:
    record: Row = {"item_id": row["item_id"], "attributes": attributes}
    limits = {"title": MAX_TITLE, "description": MAX_DESCRIPTION, "brand": MAX_LABEL}
    for name, limit in limits.items():
        text = row.get(name)
        if row.get(f"{name}_nested"):
            columns = getattr(mapping, name).in_order
            report.repair(f"{not_text(name, columns)}: left out", 1)
            note_names_inside(columns, report)
        elif text is not None:
            report.repair(f"{name} cut to {limit} characters", int(len(text) > limit))
            record[name] = text[:limit].rstrip()
    if mapping.categories is not None:
        record["categories"] = labels(
            "categories", mapping.categories, cells, MAX_CATEGORIES, report
        )
    if mapping.tags is not None:
        record["tags"] = labels("tags", mapping.tags, cells, MAX_TAGS, report)
    record |= _price(row, report)
    instead = {
        "available": "taken as available",
        "published_at": "left out",
        "deleted": "the item stays",
    }
    for name, taken in instead.items():
        if row.get(name) is None and row.get(f"{name}_given"):
            report.repair(f"{name} cannot be read: {taken}", 1)
        elif row.get(name) is not None and name != "deleted":
            record[name] = row[name]
    return Item.model_validate(record)


def _price(row: Row, report: ImportReport) -> Row:
    price = row.get("price")
    if price is None:
        report.repair("price cannot be read: left out", int(row.get("price_given", False)))
        return {}
    if not 0 <= price <= MAX_PRICE:
        report.repair("price is negative or absurd: left out", 1)
        return {}
    report.repair("price read by the rule for decimal signs", int(not row["price_plain"]))
    return {"price": price}
