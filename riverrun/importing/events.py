"""Raw rows to clean events, a column at a time.

Rows without a usable user, item, type or time are rejected. Fields that an event can do without
are left out where they are unusable, and the report says how often.
"""

from datetime import datetime, timedelta

import polars as pl

from feature_repo.archive import EVENT_SCHEMA
from feature_repo.history import EVENT_KEY
from feature_repo.schema import (
    EVENT_TYPE_PATTERN,
    MAX_CONTEXT,
    MAX_QUERY,
    MAX_VALUE,
    content_id,
)
from riverrun.importing import values
from riverrun.importing.fields import fields_of
from riverrun.importing.frames import event_frame
from riverrun.importing.identifiers import identifier_reason
from riverrun.importing.json_values import MAX_BYTES, dump_json, json_object
from riverrun.importing.mapping import EventsMapping, MapSource, TextSource
from riverrun.importing.nested import not_text, note_names_inside
from riverrun.importing.raw_files import RawBatch
from riverrun.importing.report import LINE, REASON, ImportReport

FUTURE = timedelta(days=1)
DISPENSABLE = ("query", "request_id")
"""Text fields that an event can do without."""
ABSENT = {name: pl.lit(None, dtype) for name, dtype in EVENT_SCHEMA.items()}
ABSENT |= {"value_given": pl.lit(False), "value_plain": pl.lit(True)}
"""What stands for the fields that a mapping has no source of."""
IDENTITY = ("user_id", "item_id", "event_type", "timestamp", "value", "query", "context")


def clean_events(
    batch: RawBatch, mapping: EventsMapping, report: ImportReport, now: datetime
) -> pl.DataFrame:
    """Return the events of `batch` with the native columns, each once.

    `now` bounds times: one that is more than a day later is rejected. Reports what was rejected,
    repaired and superfluous.
    """
    raw = batch.frame
    fields = ABSENT | fields_of(mapping, batch)
    if mapping.context is not None:
        fields["context"] = _context(mapping.context, raw.schema)
    read = raw.select(LINE, **fields)
    for name, source in _texts(mapping).items():
        if read[f"{name}_nested"].any():
            note_names_inside(source.in_order, report)
    read = read.with_columns(given_type="event_type", event_type=_event_type())
    reasons = read.select(_reason(mapping, now))[REASON]
    bad = reasons.is_not_null()
    if bad.any():
        report.reject(str(batch.file), raw.with_columns(reasons).filter(bad))
        read = read.filter(~bad)
    events = _with_ids(_repaired(read, mapping, report))
    distinct = events.unique(EVENT_KEY, keep="first", maintain_order=True)
    report.skip("the same event again", events.height - distinct.height)
    return distinct


def _texts(mapping: EventsMapping) -> dict[str, TextSource]:
    """Return the sources of the text fields."""
    return {name: source for name, source in mapping if isinstance(source, TextSource)}


def _context(source: MapSource, schema: pl.Schema) -> pl.Expr:
    if source.column is not None:
        return values.raw_text(source.column, schema[source.column])
    fields = [
        values.text(TextSource(column=column), schema).alias(name)
        for name, column in source.fields.items()
    ]
    return pl.struct(fields).struct.json_encode()


def _event_type() -> pl.Expr:
    return pl.col("event_type").str.to_lowercase().str.replace_all(r"[^a-z0-9_-]+", "_")


def _reason(mapping: EventsMapping, now: datetime) -> pl.Expr:
    kind, moment = pl.col("event_type"), pl.col("timestamp")
    return (
        pl.coalesce(
            *(
                pl.when(f"{name}_nested").then(pl.lit(not_text(name, source.in_order)))
                for name, source in _texts(mapping).items()
                if name not in DISPENSABLE
            ),
            identifier_reason("user_id"),
            identifier_reason("item_id"),
            pl.when(kind.is_null()).then(pl.lit("no event_type")),
            pl.when(~kind.str.contains(EVENT_TYPE_PATTERN)).then(
                pl.lit("event_type is not a word of up to 32 letters")
            ),
            pl.when(moment.is_null()).then(pl.lit("timestamp is absent or cannot be read")),
            pl.when(~values.plausible(moment)).then(
                pl.lit("timestamp is absurd: not between 1990 and 2100")
            ),
            pl.when(moment > now + FUTURE).then(pl.lit("timestamp lies in the future")),
            pl.when(pl.col("event_id").is_not_null()).then(identifier_reason("event_id")),
        )
    ).alias(REASON)


def _repaired(read: pl.DataFrame, mapping: EventsMapping, report: ImportReport) -> pl.DataFrame:
    for name, source in _texts(mapping).items():
        if name in DISPENSABLE:
            is_nested = f"{name}_nested"
            reason = f"{not_text(name, source.in_order)}: left out"
            report.repair(reason, int(read[is_nested].fill_null(False).sum()))
            read = read.with_columns(pl.when(pl.col(is_nested).not_()).then(name).alias(name))
    value, query, request_id = pl.col("value"), pl.col("query"), pl.col("request_id")
    rules = {
        "event_type written in the common form": pl.col("given_type") != pl.col("event_type"),
        "value cannot be read: left out": pl.col("value_given") & value.is_null(),
        "value out of range: left out": value.abs() > MAX_VALUE,
        "value read by the rule for decimal signs": ~pl.col("value_plain") & value.is_not_null(),
        f"query cut to {MAX_QUERY} characters": query.str.len_chars() > MAX_QUERY,
        "request_id unusable: left out": request_id.is_not_null()
        & identifier_reason("request_id").is_not_null(),
    }
    counts = read.select(rule.fill_null(False).sum().alias(name) for name, rule in rules.items())
    for name, count in counts.row(0, named=True).items():
        report.repair(name, count)
    context = pl.Series("context", _json_objects(read["context"], report), dtype=pl.String)
    return read.with_columns(
        context,
        value=pl.when(value.abs() <= MAX_VALUE).then(value),
        query=query.str.slice(0, MAX_QUERY).str.strip_chars(" "),
        request_id=pl.when(identifier_reason("request_id").is_null()).then(request_id),
    )


def _json_objects(texts: pl.Series, report: ImportReport) -> list[str | None]:
    if texts.null_count() == len(texts):
        return [None] * len(texts)
    return [_context_text(text, report) for text in texts.to_list()]


def _context_text(text: str | None, report: ImportReport) -> str | None:
    if text in (None, "", "null"):
        return None
    parsed = json_object(text, "context is", report)
    if parsed is None:
        return None
    if len(parsed) > MAX_CONTEXT:
        report.repair(f"context has more than {MAX_CONTEXT} fields: left out", 1)
        return None
    kept = {name: value for name, value in parsed.items() if value is not None}
    written = dump_json(kept)
    if len(written.encode()) > MAX_BYTES:
        report.repair(f"context is more than {MAX_BYTES >> 10} KiB: left out", 1)
        return None
    return written if kept else None


def _with_ids(events: pl.DataFrame) -> pl.DataFrame:
    events = event_frame(events)
    missing = events["event_id"].is_null()
    if not missing.any():
        return events
    rows = events.filter(missing).select(
        pl.col("timestamp").dt.epoch("us") if name == "timestamp" else pl.col(name)
        for name in IDENTITY
    )
    made = iter(
        [
            content_id(*("" if part is None else str(part) for part in row))
            for row in rows.iter_rows()
        ]
    )
    ids = [
        next(made) if absent else known
        for known, absent in zip(events["event_id"].to_list(), missing.to_list(), strict=True)
    ]
    return events.with_columns(pl.Series("event_id", ids, dtype=pl.String))
