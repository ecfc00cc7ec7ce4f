"""The files of a sample shop, in the native format that `riverrun import` reads."""

import gzip
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Literal

import numpy as np
import orjson
import polars as pl

from riverrun.errors import UserError
from riverrun.importing.frames import event_frame
from riverrun.sample.behaviour import EVENT_TYPES, EventChunk, iter_event_chunks
from riverrun.sample.catalogue import Catalogue, iter_items, make_catalogue, search_queries
from riverrun.sample.randomness import uniform
from riverrun.sample.settings import SampleSettings

EventFormat = Literal["parquet", "jsonl"]
ROWS_PER_FILE = 1_000_000
COUNTRIES = ("DE", "FR", "GB", "NL", "SE", "IT", "ES", "PL", "AT", "DK")
ATTRIBUTES_PURPOSE = 100
FLUSH_ROWS = 10_000
_FILES = re.compile(r"(items|users)\.jsonl\.gz|events-\d{5}\.(parquet|jsonl\.gz)")

Progress = Callable[[str, int], None]
"""Called with what was written ("items", "users", "events") and how many more."""


def iter_events(
    settings: SampleSettings, catalogue: Catalogue | None = None
) -> Iterator[pl.DataFrame]:
    """Yield frames of native event columns in order of time."""
    catalogue = make_catalogue(settings) if catalogue is None else catalogue
    done = 0
    for chunk in iter_event_chunks(settings, catalogue):
        yield _frame(settings, catalogue, chunk, done)
        done += len(chunk)


def write_sample(
    settings: SampleSettings,
    out: Path,
    event_format: EventFormat = "parquet",
    progress: Progress = lambda _what, _count: None,
) -> list[Path]:
    """Write items.jsonl.gz, users.jsonl.gz, sample.json and events-NNNNN files into `out`.

    Returns the files of events, in order of time.
    Files of an earlier sample in `out` are replaced. Where an import would read other files in it,
    `UserError` names one. Memory does not grow with the number of events.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in _earlier_sample(out):
        old.unlink()
    # First: if writing is interrupted, it shows that the other files are a sample's.
    (out / "sample.json").write_text(settings.model_dump_json(indent=2) + "\n")
    catalogue = make_catalogue(settings)
    records = (item.model_dump(mode="json") for item in iter_items(catalogue))
    _write_records(out / "items.jsonl.gz", records, lambda count: progress("items", count))
    _write_records(out / "users.jsonl.gz", _users(settings), lambda count: progress("users", count))
    return _write_events(settings, catalogue, out, event_format, progress)


def _earlier_sample(out: Path) -> list[Path]:
    """Return the files of a sample in `out`. Raises `UserError` where others would be imported."""
    found = sorted(file for kind in ("items", "users", "events") for file in out.glob(f"{kind}*"))
    is_sample = (out / "sample.json").is_file()
    for file in found:
        if not (is_sample and _FILES.fullmatch(file.name)):
            raise UserError(
                f"--out: {out} holds {file.name}, which no sample has written. Name another folder."
            )
    return found


def _frame(
    settings: SampleSettings, catalogue: Catalogue, chunk: EventChunk, done: int
) -> pl.DataFrame:
    n = len(chunk)
    searched = np.flatnonzero(chunk.searched)
    queries = pl.DataFrame(
        {"row": searched, "query": search_queries(catalogue, chunk.item[searched])},
        schema={"row": pl.Int64, "query": pl.String},
    )
    price = np.where(chunk.event_type == 2, catalogue.price[chunk.item], np.nan)
    names = pl.Series(EVENT_TYPES)
    frame = pl.DataFrame(
        {
            "row": np.arange(n),
            "user": chunk.user,
            "item": chunk.item,
            "timestamp": chunk.timestamp,
            "value": price,
            "event_type": names.gather(chunk.event_type.astype(np.int64)),
        }
    ).join(queries, on="row", how="left", maintain_order="left")
    number = (pl.col("row") + done).cast(pl.String).str.zfill(10)
    return event_frame(
        frame.select(
            "event_type",
            "query",
            event_id=pl.concat_str(pl.lit(f"{settings.event_id_prefix}-"), number),
            user_id=_label("u", "user"),
            item_id=_label("p", "item"),
            timestamp=pl.from_epoch("timestamp", "us").dt.replace_time_zone("UTC"),
            value=pl.col("value").fill_nan(None),
        )
    )


def _label(letter: str, column: str) -> pl.Expr:
    return pl.concat_str(pl.lit(letter), pl.col(column).cast(pl.String).str.zfill(7))


def _users(settings: SampleSettings) -> Iterator[dict[str, object]]:
    for first in range(0, settings.users, FLUSH_ROWS):
        index = np.arange(first, min(first + FLUSH_ROWS, settings.users), dtype=np.int64)
        country = uniform(settings.seed, ATTRIBUTES_PURPOSE, index) ** 1.5 * len(COUNTRIES)
        newsletter = uniform(settings.seed, ATTRIBUTES_PURPOSE + 1, index) < 0.3
        for user, place, subscribed in zip(
            index.tolist(), country.astype(int).tolist(), newsletter.tolist(), strict=True
        ):
            yield {
                "user_id": f"u{user:07d}",
                "attributes": {"country": COUNTRIES[place], "newsletter": subscribed},
            }


def _write_records(
    path: Path, records: Iterator[dict[str, object]], progress: Callable[[int], None]
) -> None:
    count = 0
    with path.open("wb") as raw, _gzip(raw) as stream:
        for record in records:
            stream.write(orjson.dumps(record) + b"\n")
            count += 1
            if count % FLUSH_ROWS == 0:
                progress(FLUSH_ROWS)
    progress(count % FLUSH_ROWS)


def _write_events(
    settings: SampleSettings,
    catalogue: Catalogue,
    out: Path,
    event_format: EventFormat,
    progress: Progress,
) -> list[Path]:
    files: list[Path] = []
    waiting: list[pl.DataFrame] = []

    def flush() -> None:
        path = out / f"events-{len(files):05d}.{_SUFFIX[event_format]}"
        frame = pl.concat(waiting)
        _WRITERS[event_format](frame, path)
        files.append(path)
        waiting.clear()

    for frame in iter_events(settings, catalogue):
        waiting.append(frame)
        if sum(part.height for part in waiting) >= ROWS_PER_FILE:
            flush()
        progress("events", frame.height)
    if waiting:
        flush()
    return files


def _write_parquet(frame: pl.DataFrame, path: Path) -> None:
    frame.write_parquet(path, compression="zstd", compression_level=3)


def _write_jsonl(frame: pl.DataFrame, path: Path) -> None:
    buffer = io.BytesIO()
    frame.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")).drop(
        [name for name in frame.columns if frame[name].null_count() == frame.height]
    ).write_ndjson(buffer)
    with path.open("wb") as raw, _gzip(raw) as stream:
        stream.write(buffer.getvalue())


def _gzip(raw: IO[bytes]) -> gzip.GzipFile:
    # Without a name and a time in the header the same content gives the same bytes.
    return gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=raw, mtime=0)


_SUFFIX: dict[EventFormat, str] = {"parquet": "parquet", "jsonl": "jsonl.gz"}
_WRITERS: dict[EventFormat, Callable[[pl.DataFrame, Path], None]] = {
    "parquet": _write_parquet,
    "jsonl": _write_jsonl,
}
