"""How the columns of a file become the fields of events, items and users, as TOML.

```toml
[file]
delimiter = ";"
encoding = "windows-1252"

[events]
user_id = "CustomerID"
item_id = "StockCode"
event_type = { constant = "purchase" }
timestamp = { column = "InvoiceDate", format = "%Y-%m-%d %H:%M:%S", timezone = "Europe/London" }
value = { column = "UnitPrice", decimal = "," }
context = ["InvoiceNo", "Country"]

[items]
item_id = "sku"
title = "name"
price = { column = "cents", scale = 0.01 }
categories = { column = "path", separator = ">" }
attributes = { colour = "farbe", size = "groesse" }

[users]
user_id = "CustomerID"
attributes = ["Country"]
```

A column may be a name in the objects of another, "title.en", and in a list of them,
"categories.name".
"""

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from feature_repo.first_error import FirstError
from feature_repo.received import described
from riverrun.errors import UserError
from riverrun.importing.time_formats import check_format


class _Mapping(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileFormat(_Mapping):
    """How text files are read. `columns` names the columns of a CSV file without a header.

    Without `quotes` a quotation mark in a CSV or TSV file is an ordinary character, for files in
    which only the delimiter has a meaning.
    """

    delimiter: Annotated[str, Field(pattern=r'^[^"\r\n]\z')] = ","
    encoding: str = "utf-8"
    quotes: bool = True
    columns: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _known_encoding(self) -> Self:
        try:
            b"a".decode(self.encoding)
        except UnicodeDecodeError:
            pass  # It is no text in this encoding, which is one, therefore.
        except LookupError:
            raise ValueError(
                f"`encoding` must be one that Python knows, as utf-8 or windows-1252. "
                f"Received: {self.encoding!r}."
            ) from None
        return self


class TextSource(_Mapping):
    """A column, several of which the first that is filled counts, or a constant.

    `values` replaces values of the column; `default` replaces empty ones and, with `values`, all
    that `values` does not name. `integer` reads "17850.0" as 17850.
    """

    column: str | None = None
    columns: tuple[str, ...] = ()
    constant: str | None = None
    values: Annotated[dict[str, str], Field(min_length=1)] | None = None
    default: str | None = None
    integer: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = (self.column is not None, bool(self.columns), self.constant is not None)
        if sum(given) != 1:
            raise ValueError("give one of `column`, `columns` and `constant`")
        return self

    @property
    def in_order(self) -> tuple[str, ...]:
        """Return the columns to look into, one after another; none for a constant."""
        return self.columns if self.column is None else (self.column,)


class TimeSource(_Mapping):
    """A column of times. Times without an offset are in `timezone`.

    `format` is a strftime format, several of them, or: `auto` (RFC 3339, ISO 8601 dates,
    the times that PostgreSQL and BigQuery write, and epoch numbers whose unit follows from their
    size), `s`, `ms`, `us`.
    """

    column: str
    format: str | tuple[str, ...] = "auto"
    timezone: str = "UTC"

    @model_validator(mode="after")
    def _valid(self) -> Self:
        try:
            ZoneInfo(self.timezone)
            # Polars knows fewer: no localtime.
            pl.Series([], dtype=pl.Datetime).dt.replace_time_zone(self.timezone)
        except (KeyError, ValueError, OSError, pl.exceptions.PolarsError):
            raise ValueError(
                "`timezone` must be an IANA name such as Europe/London. "
                f"Received: {self.timezone!r}."
            ) from None
        for form in self.formats:
            check_format(form)
        return self

    @property
    def formats(self) -> tuple[str, ...]:
        """Return the formats to try in order."""
        return (self.format,) if isinstance(self.format, str) else self.format


class NumberSource(_Mapping):
    """A column or constant number, multiplied by `scale`.

    `decimal` is the decimal sign. With `auto` it is the last "." or "," of the number, except for
    a single "," before exactly three digits, which separates thousands unless a lone zero stands
    before it: "1.234,50" is 1234.5, "1,234" is 1234, "1,5" is 1.5, and "0,500" is 0.5. With "."
    or "," the other sign may only separate thousands: with "," 12.50 is not read. It does not apply
    to values that are numbers in JSONL or Parquet.
    """

    column: str | None = None
    constant: float | None = None
    decimal: Literal["auto", ".", ","] = "auto"
    scale: float = 1.0

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.column is None) == (self.constant is None):
            raise ValueError("give either `column` or `constant`")
        return self


class ListSource(_Mapping):
    """A column that holds a list, or text that `separator` splits; or several such columns.

    Text in the form of a JSON or Python list is read as a list: ["a", "b"], ['a', 'b'].
    """

    column: str | None = None
    columns: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    separator: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum((self.column is not None, bool(self.columns), bool(self.constant))) != 1:
            raise ValueError("give one of `column`, `columns` and `constant`")
        return self


class MapSource(_Mapping):
    """A column that holds a JSON object, or a column for each name of `fields`.

    In a mapping, a lone `column` names the former: `{ column = "specs" }` is "specs".
    """

    column: str | None = None
    fields: dict[str, str] = {}


def _table(value: Any, *, otherwise: str = "a table") -> Any:
    if isinstance(value, dict | BaseModel):
        return value
    raise ValueError(f"must be {otherwise}. Received: {described(value)}.")


def _column(value: Any) -> Any:
    if isinstance(value, str):
        return {"column": value}
    return _table(value, otherwise="the name of a column, or a table")


def _columns(value: Any) -> Any:
    if isinstance(value, str):
        return {"column": value}
    if isinstance(value, list):
        return {"columns": value}
    return _table(value, otherwise="the name of a column, a list of names, or a table")


def _fields(value: Any) -> Any:
    if isinstance(value, str):
        return {"column": value}
    if isinstance(value, list):
        return {"fields": {name: name for name in value}}
    if isinstance(value, dict):
        return value if list(value) == ["column"] else {"fields": value}
    return _table(value, otherwise="the name of a column, a list of names, or a table")


Text = Annotated[TextSource, BeforeValidator(_columns)]
Time = Annotated[TimeSource, BeforeValidator(_column)]
Number = Annotated[NumberSource, BeforeValidator(_column)]
List = Annotated[ListSource, BeforeValidator(_columns)]
Map = Annotated[MapSource, BeforeValidator(_fields)]


class EventsMapping(_Mapping):
    """Where the fields of an event come from."""

    user_id: Text
    item_id: Text
    event_type: Text
    timestamp: Time
    event_id: Text | None = None
    value: Number | None = None
    query: Text | None = None
    request_id: Text | None = None
    context: Map | None = None


class ItemsMapping(_Mapping):
    """Where the fields of an item come from."""

    item_id: Text
    title: Text | None = None
    description: Text | None = None
    categories: List | None = None
    brand: Text | None = None
    price: Number | None = None
    tags: List | None = None
    attributes: Map | None = None
    available: Text | None = None
    published_at: Time | None = None
    deleted: Text | None = None


class UsersMapping(_Mapping):
    """Where the fields of a user come from."""

    user_id: Text
    attributes: Map | None = None


RecordMapping = EventsMapping | ItemsMapping | UsersMapping
Kind = Literal["events", "items", "users"]
MAPPINGS: dict[Kind, type[RecordMapping]] = {
    "events": EventsMapping,
    "items": ItemsMapping,
    "users": UsersMapping,
}


class ImportMapping(_Mapping):
    """A mapping file. Where a kind has no table, columns have the names of its fields."""

    file: Annotated[FileFormat, BeforeValidator(_table)] = FileFormat()
    events: Annotated[EventsMapping, BeforeValidator(_table)] | None = None
    items: Annotated[ItemsMapping, BeforeValidator(_table)] | None = None
    users: Annotated[UsersMapping, BeforeValidator(_table)] | None = None


def load_mapping(path: Path) -> ImportMapping:
    """Read a mapping file; `UserError` names the key and the value that is wrong."""
    try:
        return ImportMapping.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"mapping {path}: no such file.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"mapping {path}: {error}.") from None
    except ValidationError as error:
        first = FirstError.of(error)
        raise UserError(f"mapping {path}: {first.key}: {first.statement}") from None


def other_names(kind: Kind) -> str:
    """Return the advice for a file of `kind` whose columns have other names than the fields."""
    return f"Other names need a table [{kind}] in a file for --mapping"


def native_mapping(kind: Kind, columns: Collection[str]) -> RecordMapping:
    """Return the mapping of a file whose columns have the names of the fields.

    Raises `ValueError` naming an unknown column. One that is required is mapped even if it is
    absent.
    """
    model = MAPPINGS[kind]
    unknown = [name for name in columns if name not in model.model_fields]
    if unknown:
        raise ValueError(
            f"unknown column {unknown[0]!r}. {kind.capitalize()} have: "
            f"{', '.join(model.model_fields)}. {other_names(kind)}"
        )
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    return model.model_validate({name: name for name in [*columns, *required]})


def source_columns(mapping: RecordMapping) -> list[str]:
    """Return every column that a mapping reads."""
    return _columns_of(mapping, type(mapping).model_fields)


def required_columns(mapping: RecordMapping) -> list[str]:
    """Return the columns without each of which a mapping gives no record."""
    names = [name for name, field in type(mapping).model_fields.items() if field.is_required()]
    sources = {name: getattr(mapping, name) for name in names}
    return _columns_of(
        mapping,
        [
            name
            for name, source in sources.items()
            if isinstance(source, TimeSource)
            or (source.default is None and len(source.in_order) == 1)
        ],
    )


def _columns_of(mapping: RecordMapping, names: Collection[str]) -> list[str]:
    columns: list[str] = []
    for name in names:
        source = getattr(mapping, name)
        if source is None:
            continue
        columns += [source.column] if source.column is not None else []
        if isinstance(source, ListSource | TextSource):
            columns += source.columns
        if isinstance(source, MapSource):
            columns += source.fields.values()
    return list(dict.fromkeys(columns))
