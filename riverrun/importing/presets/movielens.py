"""MovieLens (GroupLens): a folder in the layout of 100k, 1M or latest-small.

A rating is an event of type `rating` whose value is the number of stars. A movie's genres are
its categories in the order given; the year in a title is kept as the attribute `year`.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import polars as pl
from pydantic import ValidationError

from feature_repo.first_error import FirstError
from feature_repo.schema import EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, Item, User, content_id
from riverrun.errors import UserError
from riverrun.importing.frames import event_frame
from riverrun.importing.identifiers import identifier_reason
from riverrun.importing.presets.data import PresetData, read_text
from riverrun.importing.report import LINE, REASON, ImportReport
from riverrun.importing.text import normalise

RecordT = TypeVar("RecordT", Item, User)
GENRES_100K = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]
USER_COLUMNS_1M = ("gender", "age", "occupation", "zip")
USER_COLUMNS_100K = ("age", "gender", "occupation", "zip")


def load(path: Path, report: ImportReport) -> PresetData:
    """Read the folder `path`, or the folder of the ratings file `path`."""
    folder = path if path.is_dir() else path.parent
    if (folder / "u.data").is_file():
        ratings = _table(folder / "u.data", "\t", report)
        items = _items_100k(folder / "u.item", report)
        users = _users(folder / "u.user", "|", USER_COLUMNS_100K, report)
    elif (folder / "ratings.dat").is_file():
        ratings = _table(folder / "ratings.dat", "::", report)
        items = _items_1m(folder / "movies.dat", report)
        users = _users(folder / "users.dat", "::", USER_COLUMNS_1M, report)
    elif (folder / "ratings.csv").is_file():
        ratings = _table(folder / "ratings.csv", ",", report, header=True)
        items, users = _items_latest(folder / "movies.csv", report), []
    else:
        raise UserError(
            f"{folder}: no MovieLens folder: it holds none of u.data, ratings.dat, ratings.csv."
        )
    report.derived["items"] += len(items)
    report.derived["users"] += len(users)
    return PresetData(items=items, events=_events(ratings, report), users=users, report=report)


def _table(
    path: Path, separator: str, report: ImportReport, *, header: bool = False
) -> pl.DataFrame:
    """Return string columns user, item, value, time of the lines that have four fields."""
    text = read_text(path, report).replace(separator, "\t")
    fields = (
        pl.DataFrame({"text": text.splitlines()})
        .with_row_index(LINE, offset=1)
        .slice(1 if header else 0)
        .filter(pl.col("text").str.strip_chars() != "")
        .with_columns(fields=pl.col("text").str.split("\t"))
    )
    parsed = fields.with_columns(
        user=pl.col("fields").list.get(0, null_on_oob=True).str.strip_chars(),
        item=pl.col("fields").list.get(1, null_on_oob=True).str.strip_chars(),
        value=pl.col("fields").list.get(2, null_on_oob=True).cast(pl.Float64, strict=False),
        seconds=pl.col("fields")
        .list.get(3, null_on_oob=True)
        .str.strip_chars()
        .cast(pl.Int64, strict=False),
    )
    earliest, latest = int(EARLIEST_TIMESTAMP.timestamp()), int(LATEST_TIMESTAMP.timestamp())
    parsed = parsed.with_columns(
        pl.when(pl.col("fields").list.len() != 4)
        .then(pl.lit("line has not four fields"))
        .when(pl.col("user").fill_null("") == "")
        .then(pl.lit("no user"))
        .when(pl.col("item").fill_null("") == "")
        .then(pl.lit("no movie"))
        .when(identifier_reason("user").is_not_null() | identifier_reason("item").is_not_null())
        .then(pl.lit("user or movie is no id"))
        .when(pl.col("value").is_finite().fill_null(False).not_())
        .then(pl.lit("rating is no number"))
        .when(pl.col("seconds").is_between(earliest, latest, closed="left").fill_null(False).not_())
        .then(pl.lit("timestamp is absurd"))
        .otherwise(None)
        .alias(REASON)
    )
    report.read += parsed.height
    report.reject(
        str(path), parsed.filter(pl.col(REASON).is_not_null()).select(LINE, REASON, "text")
    )
    return parsed.filter(pl.col(REASON).is_null()).select("user", "item", "value", "seconds")


def _events(ratings: pl.DataFrame, report: ImportReport) -> pl.DataFrame:
    distinct = ratings.unique(maintain_order=True)
    report.skip("identical rating", ratings.height - distinct.height)
    report.accepted += distinct.height
    ids = [content_id("movielens", *map(str, row)) for row in distinct.iter_rows()]
    events = distinct.select(
        "value",
        event_id=pl.Series(ids, dtype=pl.String),
        user_id="user",
        item_id="item",
        event_type=pl.lit("rating"),
        timestamp=pl.from_epoch("seconds", "s").dt.cast_time_unit("us").dt.replace_time_zone("UTC"),
    )
    return event_frame(events).sort("timestamp", "event_id")


def _items_100k(path: Path, report: ImportReport) -> list[Item]:
    def item(fields: list[str]) -> Item:
        genres = [g for g, flag in zip(GENRES_100K, fields[5:24], strict=True) if flag == "1"]
        return _item(fields[0], fields[1], genres, report, released=fields[2])

    return _records(path, _fields(path, "|", 24, report), item, report)


def _items_1m(path: Path, report: ImportReport) -> list[Item]:
    def item(fields: list[str]) -> Item:
        return _item(fields[0], fields[1], fields[2].split("|"), report)

    return _records(path, _fields(path, "::", 3, report), item, report)


def _items_latest(path: Path, report: ImportReport) -> list[Item]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; a MovieLens folder with ratings.csv has it.")
    try:
        movies = pl.read_csv(BytesIO(read_text(path, report).encode()), infer_schema=False)
        rows = movies.select(pl.col("movieId", "title", "genres").fill_null("")).rows()
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: no table of movieId, title and genres: {reason}.") from None

    def item(fields: list[str]) -> Item:
        return _item(fields[0], fields[1], fields[2].split("|"), report)

    return _records(path, enumerate(map(list, rows), start=2), item, report)


def _records(
    path: Path,
    rows: Iterable[tuple[int, list[str]]],
    build: Callable[[list[str]], RecordT],
    report: ImportReport,
) -> list[RecordT]:
    """Return the records of numbered lines; those that the schema refuses are rejected."""
    records = []
    for number, fields in rows:
        try:
            records.append(build(fields))
        except ValidationError as error:
            report.read += 1
            reason = f"record has no usable {FirstError.of(error).field}"
            report.reject_one(str(path), number, reason, fields)
    return records


def _item(
    item_id: str, title: str, genres: list[str], report: ImportReport, released: str = ""
) -> Item:
    title = normalise(title)
    categories = tuple(g for g in genres if g and g not in ("unknown", "(no genres listed)"))
    attributes: dict[str, str | float | bool] = {}
    if title.endswith(")") and title[-5:-1].isdigit():
        attributes["year"] = float(title[-5:-1])
    published_at = None
    if released:
        try:
            published_at = datetime.strptime(released, "%d-%b-%Y").replace(tzinfo=UTC)
        except ValueError:
            report.repair("release date cannot be read: left out", 1)
    if published_at is not None and not EARLIEST_TIMESTAMP <= published_at < LATEST_TIMESTAMP:
        published_at = None
    return Item(
        item_id=item_id,
        title=title,
        categories=categories,
        attributes=attributes,
        published_at=published_at,
    )


def _users(
    path: Path, separator: str, columns: tuple[str, ...], report: ImportReport
) -> list[User]:
    if not path.is_file():
        return []

    def user(fields: list[str]) -> User:
        attributes: dict[str, str | float | bool] = dict(zip(columns, fields[1:], strict=True))
        try:
            attributes["age"] = float(attributes["age"])
        except ValueError:
            report.repair("age is no number: left out", 1)
            del attributes["age"]
        return User(user_id=fields[0], attributes=attributes)

    return _records(path, _fields(path, separator, 1 + len(columns), report), user, report)


def _fields(
    path: Path, separator: str, count: int, report: ImportReport
) -> list[tuple[int, list[str]]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; a MovieLens folder has it beside its ratings.")
    rows = []
    for number, line in enumerate(read_text(path, report).splitlines(), start=1):
        fields = line.split(separator)
        if len(fields) == count:
            rows.append((number, fields))
        elif line.strip():
            report.read += 1
            report.reject_one(str(path), number, f"line has not {count} fields", line)
    return rows
