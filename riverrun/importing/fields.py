"""What the fields of records are read from, as expressions over raw columns."""

import polars as pl

from riverrun.importing import values
from riverrun.importing.mapping import NumberSource, RecordMapping, TextSource, TimeSource
from riverrun.importing.raw_files import RawBatch

IDENTIFIERS = ("user_id", "item_id", "event_id", "request_id")


def fields_of(mapping: RecordMapping, batch: RawBatch) -> dict[str, pl.Expr]:
    """Return the texts, times and numbers of a mapping by name, and what explains an absent one.

    NAME_nested: whether a text's column has an object or a list there. NAME_given: whether the
    column of a time or a number has anything. NAME_plain: whether a number was read without the
    rule for decimal signs.
    """
    schema = batch.frame.schema
    fields: dict[str, pl.Expr] = {}
    for name, source in mapping:
        match source:
            case TextSource():
                read = values.identifier if name in IDENTIFIERS else values.text
                fields[name] = read(source, schema)
                fields[f"{name}_nested"] = batch.is_nested(source.in_order)
            case TimeSource():
                fields[name] = values.time(source, schema)
                fields[f"{name}_given"] = values.given(source.column, schema)
            case NumberSource():
                fields[name] = values.number(source, schema, batch.is_json)
                fields[f"{name}_given"] = values.given(source.column, schema)
                fields[f"{name}_plain"] = values.plain_number(source, schema, batch.is_json)
    return fields
