"""Polars expressions that read text, numbers, times and booleans from raw columns.

They depend on the column's type, since CSV and JSONL give strings and Parquet its own types.
"""

from collections.abc import Callable, Mapping

import polars as pl

from feature_repo.schema import EARLIEST_TIMESTAMP, LATEST_TIMESTAMP
from riverrun.importing.mapping import NumberSource, TextSource, TimeSource
from riverrun.importing.text import normalised, stripped
from riverrun.importing.time_formats import has_hour, has_minute, has_offset, polars_format

EPOCH_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
NO_JSON: Mapping[str, pl.Series] = {}
_EXPONENT = r"([eE][+-]?\d+)?$"
DECIMAL_COMMA = r"^[+-]?([1-9]\d{0,2}(\.\d{3})+|\d*)(,\d*)?" + _EXPONENT
DECIMAL_POINT = r"^[+-]?([1-9]\d{0,2}(,\d{2,3})*,\d{3}|\d*)(\.\d*)?" + _EXPONENT
OFFSET = r"(?:[Zz]|UTC|[+-]\d{2}(?::?\d{2})?)$"
YES = {"true", "1", "yes", "y", "t", "on"}
NO = {"false", "0", "no", "n", "f", "off"}
TRUE = {*YES, "available", "instock", "preorder", "backorder", "presale", "onbackorder"}
TRUE |= {"onlineonly", "limitedavailability", "madetoorder"}
FALSE = {*NO, "unavailable", "outofstock", "soldout", "notavailable", "notinstock"}
FALSE |= {"discontinued"}


def raw_text(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column as text; whole floating-point numbers lose their ".0"."""
    value = pl.col(column)
    if dtype == pl.String:
        return value
    if dtype.is_float():
        whole = (value == value.round()) & (value.abs() < 2.0**53)
        return (
            pl.when(whole)
            .then(value.cast(pl.Int64, strict=False).cast(pl.String))
            .otherwise(value.fill_nan(None).cast(pl.String))
        )
    if isinstance(dtype, pl.Struct):
        return value.struct.json_encode()
    if isinstance(dtype, pl.List | pl.Array | pl.Map):
        return pl.struct(v=value).struct.json_encode().str.extract(r'^\{"v":(.*)\}$', 1)
    return value.cast(pl.String)


def given(column: str | None, schema: pl.Schema) -> pl.Expr:
    """Return whether a column has anything in a row; a constant, which has no column, never."""
    if column is None:
        return pl.lit(False)
    return (raw_text(column, schema[column]).str.strip_chars() != "").fill_null(False)


def text(source: TextSource, schema: pl.Schema) -> pl.Expr:
    """Return normalised text; empty text is null."""
    return _replaced(source, schema, normalised)


def identifier(source: TextSource, schema: pl.Schema) -> pl.Expr:
    """Return ids without blanks at their ends; more would merge different ids into one.

    An empty id is null.
    """
    return _replaced(source, schema, stripped)


def _replaced(source: TextSource, schema: pl.Schema, rule: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    if source.constant is not None:
        return pl.lit(source.constant or None, pl.String)
    found = [rule(raw_text(column, schema[column])) for column in source.in_order]
    value = pl.coalesce(pl.when(each != "").then(each) for each in found)
    if source.integer:
        value = value.str.replace(r"^(-?\d+)\.0*$", "$1")
    if source.values is not None:
        named = value.replace_strict(
            list(source.values), list(source.values.values()), default=None, return_dtype=pl.String
        )
        # Values that are not named stay as they are; later rules accept or reject them.
        value = pl.coalesce(named, value) if source.default is None else named
    return value if source.default is None else value.fill_null(source.default)


def number(
    source: NumberSource, schema: pl.Schema, is_json: Mapping[str, pl.Series] = NO_JSON
) -> pl.Expr:
    """Return finite numbers; values that cannot be read are null.

    is_json: as `RawBatch` has it; JSON's own numbers are read as JSON, whatever the decimal sign.
    """
    if source.constant is not None:
        return pl.lit(source.constant * source.scale)
    assert source.column is not None
    dtype = schema[source.column]
    if dtype.is_numeric():
        value = pl.col(source.column).cast(pl.Float64)
    else:
        written = raw_text(source.column, dtype)
        value = parsed_number(written, source.decimal)
        if source.column in is_json:
            exact = written.cast(pl.Float64, strict=False)
            value = pl.when(pl.lit(is_json[source.column])).then(exact).otherwise(value)
    if source.scale != 1.0:
        # Cents to euros must not give 19.990000000000002.
        value = (value * source.scale).round(6)
    return pl.when(value.is_finite()).then(value)


def plain_number(
    source: NumberSource, schema: pl.Schema, is_json: Mapping[str, pl.Series] = NO_JSON
) -> pl.Expr:
    """Return whether a value was read as a number without the rule for decimal signs."""
    if source.column is None or schema[source.column].is_numeric():
        return pl.lit(True)
    value = raw_text(source.column, schema[source.column])
    plain = value.cast(pl.Float64, strict=False).is_not_null() & (source.decimal != ",")
    return pl.lit(is_json[source.column]) | plain if source.column in is_json else plain


def parsed_number(value: pl.Expr, decimal: str) -> pl.Expr:
    """Read "1.234,50", "1,234.50", "€ 1.234,-" and "1 234,50" as numbers.

    A separator of thousands stands before groups of three digits (from the second group on, before
    two, as in "12,34,567.00"). Where "," is the decimal sign, a point elsewhere may be a decimal
    sign itself, and the value is not read.
    """
    dash = "${2}" if decimal == "auto" else decimal
    digits = (
        value.str.replace_all(r"[\s\p{Sc}\p{Z}'’]", "")
        .str.replace(r"^[A-Za-z]{1,4}\.?|[A-Za-z]{1,4}\.?$", "")
        .str.replace(r"(\d)([.,])[-–—]+$", f"${{1}}{dash}0")
    )
    as_comma = (
        pl.when(digits.str.contains(DECIMAL_COMMA))
        .then(digits)
        .str.replace_all(".", "", literal=True)
        .str.replace(",", ".", literal=True)
    )
    as_point = (
        pl.when(digits.str.contains(DECIMAL_POINT))
        .then(digits)
        .str.replace_all(",", "", literal=True)
    )
    if decimal == ",":
        chosen = as_comma
    elif decimal == ".":
        chosen = as_point
    else:
        scientific = digits.str.contains(r"^[+-]?\d*\.?\d+[eE][+-]?\d+$")
        last_comma = digits.str.contains(r",[^.,]*$")
        # Thousands never follow a lone zero: "0,500" is a half.
        thousands = digits.str.contains(r"^[+-]?[1-9]\d{0,2}(,\d{3})+$")
        many_points = digits.str.contains(r"^[+-]?[1-9]\d{0,2}(\.\d{3}){2,}$")
        chosen = (
            pl.when(scientific)
            .then(digits)
            .when((last_comma & ~thousands) | many_points)
            .then(as_comma)
            .otherwise(as_point)
        )
    clean = pl.when(chosen.str.contains(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")).then(chosen)
    return clean.cast(pl.Float64, strict=False)


def time(source: TimeSource, schema: pl.Schema) -> pl.Expr:
    """Return times in UTC with microseconds; values that cannot be read are null."""
    dtype = schema[source.column]
    value = pl.col(source.column)
    if isinstance(dtype, pl.Datetime):
        moment = value.cast(pl.Datetime("us", dtype.time_zone))
        if dtype.time_zone is None:
            return _localised(moment, source.timezone)
        return moment.dt.convert_time_zone("UTC")
    if dtype == pl.Date:
        return _localised(value.cast(pl.Datetime("us")), source.timezone)
    words = raw_text(source.column, dtype).str.strip_chars()
    return pl.coalesce(_parsed_time(words, form, source.timezone) for form in source.formats)


def plausible(moment: pl.Expr) -> pl.Expr:
    """Return whether a time lies within what the schema accepts."""
    return (moment >= EARLIEST_TIMESTAMP) & (moment < LATEST_TIMESTAMP)


def truth(value: pl.Expr) -> pl.Expr:
    """Return true or false for the words of `YES` and `NO`, else null."""
    word = value.str.to_lowercase()
    return pl.when(word.is_in(YES)).then(True).when(word.is_in(NO)).then(False)


def switch(value: pl.Expr) -> pl.Expr:
    """Return true or false for the words of `TRUE` and `FALSE`, else null.

    They may be written as "out of stock", "out_of_stock" or "https://schema.org/OutOfStock".
    """
    word = (
        value.str.to_lowercase()
        .str.replace(r"^https?://schema\.org/", "")
        .str.replace_all(r"([a-z])[ _-]+", "${1}")
    )
    return pl.when(word.is_in(TRUE)).then(True).when(word.is_in(FALSE)).then(False)


def _parsed_time(words: pl.Expr, form: str, timezone: str) -> pl.Expr:
    if form in EPOCH_UNITS:
        return _epoch(words, EPOCH_UNITS[form])
    if form == "auto":
        return _iso_or_epoch(words, timezone)
    form = polars_format(form)
    if has_offset(form):
        words = words.str.replace(r"[Zz]$", "+0000")
    elif not has_hour(form):
        day = words.str.to_date(form, strict=False).cast(pl.Datetime("us"))
        return _localised(day, timezone)
    if has_hour(form) and not has_minute(form):
        # Polars reads no hour without a minute.
        words, form = pl.concat_str(words, pl.lit(" 00")), f"{form} %M"
    moment = words.str.to_datetime(form, time_unit="us", strict=False)
    return moment.dt.convert_time_zone("UTC") if has_offset(form) else _localised(moment, timezone)


def _iso_or_epoch(words: pl.Expr, timezone: str) -> pl.Expr:
    iso = words.str.replace(r"^(\d{4}-\d{2}-\d{2})[ tT]+", "${1}T")
    has_offset = iso.str.contains(r"T.*" + OFFSET)
    zoned = (
        iso.str.replace(r" *(?:[Zz]|UTC)$", "+0000")
        .str.replace(r" *([+-]\d{2})$", "${1}00")
        .str.replace(r" *([+-]\d{2}):?(\d{2})$", "${1}${2}")
    )
    with_offset = pl.coalesce(
        zoned.str.to_datetime(form, time_unit="us", strict=False).dt.convert_time_zone("UTC")
        for form in ("%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M%z")
    )
    naive = pl.coalesce(
        iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False),
        iso.str.to_datetime("%Y-%m-%dT%H:%M", time_unit="us", strict=False),
        iso.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")),
    )
    amount = words.cast(pl.Float64, strict=False).abs()
    unit = (
        pl.when(amount < 1e11)
        .then(1_000_000.0)
        .when(amount < 1e14)
        .then(1_000.0)
        .when(amount < 1e17)
        .then(1.0)
        .otherwise(0.001)
    )
    return (
        pl.when(has_offset)
        .then(with_offset)
        .when(amount.is_not_null())
        .then(_epoch(words, unit))
        .otherwise(_localised(naive, timezone))
    )


def _epoch(words: pl.Expr, unit: float | pl.Expr) -> pl.Expr:
    # A float cannot hold whole microseconds exactly, so integers stay integers.
    whole = words.cast(pl.Int64, strict=False)
    factor = unit if isinstance(unit, pl.Expr) else pl.lit(float(unit))
    exact = pl.when(factor >= 1).then(whole * factor.cast(pl.Int64)).otherwise(whole // 1_000)
    rough = (words.cast(pl.Float64, strict=False) * factor).round()
    rough = pl.when(rough.abs() < 9e18).then(rough).cast(pl.Int64, strict=False)
    return pl.coalesce(exact, rough).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _localised(naive: pl.Expr, timezone: str) -> pl.Expr:
    # An hour that happens twice is read as the first; one that was skipped cannot be read.
    return naive.dt.replace_time_zone(
        timezone, ambiguous="earliest", non_existent="null"
    ).dt.convert_time_zone("UTC")
