"""Laws of importing: formats are alike, a re-run changes nothing, every row is counted."""

import gzip
import io
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_repo.schema import Event, Item, User
from riverrun.importing import sink
from riverrun.importing.frames import event_frame
from riverrun.importing.mapping import load_mapping
from riverrun.importing.raw_files import BatchSize
from riverrun.importing.readers import read_batches
from riverrun.importing.report import ImportReport
from riverrun.importing.run import import_preset, shop_files
from riverrun.importing.sink import ArchiveSink
from riverrun.sample import SampleSettings, write_sample
from tests.riverrun.memory_archive import MemoryArchive
from tests.riverrun.run_import import GOOD, HEAD, NOW, run

printable = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S"], max_codepoint=0xFFF0), min_size=1
).filter(str.isprintable)
names = printable.map(lambda text: " ".join(text.split())[:100]).filter(bool)
identifiers = st.one_of(
    names, st.sampled_from(["ABC 123", "ABC   123", "Caf\u00e9", "Cafe\u0301", "\u00c5", "\u212b"])
)
EARLIEST = datetime(1991, 1, 1)  # noqa: DTZ001  # hypothesis adds the time zone itself
LATEST = datetime(2026, 2, 1)  # noqa: DTZ001
moments = st.datetimes(EARLIEST, LATEST, timezones=st.just(UTC))
events_strategy = st.lists(
    st.builds(
        Event,
        event_id=identifiers,
        user_id=identifiers,
        item_id=identifiers,
        event_type=st.sampled_from(["view", "cart", "purchase"]),
        timestamp=moments,
        value=st.none() | st.floats(-1e9, 1e9),
        query=st.none() | names,
        request_id=st.none() | identifiers,
        context=st.just({}) | st.dictionaries(names, st.integers(0, 9) | names, max_size=3),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda event: event.event_id,
)


def frame_of(events: Sequence[Event]) -> pl.DataFrame:
    rows = [
        event.model_dump() | {"context": orjson.dumps(event.context).decode()} for event in events
    ]
    return event_frame(pl.DataFrame(rows, infer_schema_length=None, strict=False))


def as_csv(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")).write_csv(buffer)
    return buffer.getvalue()


def as_jsonl(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")).write_ndjson(
        buffer
    )
    return buffer.getvalue()


def as_parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


FORMATS: dict[str, Callable[[pl.DataFrame], bytes]] = {
    "csv": as_csv,
    "jsonl": as_jsonl,
    "parquet": as_parquet,
}


@settings(max_examples=40)
@given(events=events_strategy, form=st.sampled_from(list(FORMATS)), packed=st.booleans())
def test_events_come_back_from_every_format(events: list[Event], form: str, packed: bool) -> None:
    with TemporaryDirectory() as folder:
        content = FORMATS[form](frame_of(events))
        path = Path(folder) / (f"events.{form}.gz" if packed else f"events.{form}")
        path.write_bytes(gzip.compress(content) if packed else content)
        archive, report = run("events", [path])
    assert report.rejected == {}
    found = {}
    for row in archive.events.frame.iter_rows(named=True):
        row["context"] = orjson.loads(row["context"] or "{}")
        event = Event.model_validate({k: v for k, v in row.items() if v is not None})
        found[event.event_id] = event

    # Texts are read in Unicode's composed form, ids as they are.
    def composed(event: Event) -> Event:
        query = event.query and unicodedata.normalize("NFC", event.query)
        return event.model_copy(update={"query": query})

    assert found == {event.event_id: composed(event) for event in events}


def test_a_shop_is_imported_whole_and_once(tmp_path: Path) -> None:
    shop = SampleSettings(items=300, users=50, events=5_000, days=10, seed=1, end=NOW)
    write_sample(shop, tmp_path / "shop")
    archive = MemoryArchive()
    for _ in range(2):
        for kind, files in shop_files(tmp_path / "shop").items():
            _, report = run(kind, files, archive=archive)
    assert report.accepted == 0
    assert report.skipped == {"the archive has the event": 5_000}
    assert archive.events.frame.height == archive.events.frame["event_id"].n_unique() == 5_000
    assert len(archive.items) == 300
    assert len(archive.users) == 50


def test_what_is_gathered_is_bounded_however_wide_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "RECORD_BYTES_PER_SEGMENT", 11_000)
    monkeypatch.setattr(sink, "EVENT_BYTES_PER_SEGMENT", 10_000)
    monkeypatch.setattr(
        "riverrun.importing.run.read_batches", partial(read_batches, size=BatchSize(3))
    )
    items, users, events = (tmp_path / f"{kind}.jsonl" for kind in ("items", "users", "events"))
    wide = "x" * 1_000
    rows = [orjson.dumps({"item_id": f"i{n}", "description": wide}) for n in range(30)]
    items.write_bytes(b"\n".join(rows))
    rows = [orjson.dumps({"user_id": f"u{n}", "attributes": {"a": wide}}) for n in range(30)]
    users.write_bytes(b"\n".join(rows))
    good = dict(zip(HEAD.split(","), GOOD.split(","), strict=True))
    rows = [orjson.dumps(good | {"event_id": f"e{n}", "query": wide}) for n in range(30)]
    events.write_bytes(b"\n".join(rows))
    archive = MemoryArchive()
    for kind, file in (("items", items), ("users", users), ("events", events)):
        run(kind, [file], archive=archive)
    assert len(archive.items) == len(archive.users) == archive.events.frame.height == 30
    assert [len(some) for some in archive.item_segments.values()] == [12, 12, 6]
    assert [len(some) for some in archive.user_segments.values()] == [12, 12, 6]
    assert len(archive.events.segments) == 3


IDS = st.lists(st.sampled_from(["", "a", "b", "c", "d"]), min_size=1, max_size=8)


@given(kind=st.sampled_from(["items", "users"]), files=st.lists(IDS, min_size=1, max_size=3))
@example(kind="items", files=[["a", "b"], ["a", "b"]])
def test_a_record_that_comes_again_is_skipped_whatever_batch_or_file_it_is_in(
    kind: str, files: list[list[str]]
) -> None:
    key = f"{kind.removesuffix('s')}_id"
    written = [(id_, place) for ids in files for place, id_ in enumerate(ids)]
    with (
        TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        batches = partial(read_batches, size=BatchSize(2))
        patch.setattr("riverrun.importing.run.read_batches", batches)
        patch.setattr(sink, "RECORDS_PER_SEGMENT", 3)
        paths = [Path(folder) / f"{number}.jsonl" for number in range(len(files))]
        for path, ids in zip(paths, files, strict=True):
            rows = [{key: id_, "attributes": {"n": place}} for place, id_ in enumerate(ids)]
            path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
        archive, report = run(kind, paths)
    distinct = {id_ for id_, _ in written if id_}
    again = sum(bool(id_) for id_, _ in written) - len(distinct)
    assert report.accepted == len(distinct)
    assert report.skipped == ({f"the same {key} again: the last counts": again} if again else {})
    # Segments are in the order they were written: the last state of an id is what it is now.
    states = {getattr(each, key): each.attributes for each in getattr(archive, kind)}
    assert states == {id_: {"n": float(place)} for id_, place in written if id_}


@pytest.mark.parametrize(
    "wide",
    [
        {"tags": ["t" * 15 + str(n) for n in range(60)]},
        {"categories": ["c" * 30 + str(n) for n in range(30)]},
        {"attributes": {f"a{n}": n for n in range(60)}},
    ],
)
def test_items_are_counted_with_all_that_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wide: dict[str, object]
) -> None:
    monkeypatch.setattr(sink, "RECORD_BYTES_PER_SEGMENT", 10_000)
    monkeypatch.setattr(
        "riverrun.importing.run.read_batches", partial(read_batches, size=BatchSize(3))
    )
    file = tmp_path / "items.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps({"item_id": f"i{n}"} | wide) for n in range(30)))
    archive, _ = run("items", [file])
    assert len(archive.item_segments) > 3
    assert len(archive.items) == 30


def test_an_import_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    shop = SampleSettings(items=100, users=50, events=3_000, days=10, seed=1, end=NOW)
    files = write_sample(shop, tmp_path)
    whole, _ = run("events", files)
    part = MemoryArchive()
    part.events.segments["import-part"] = whole.events.frame.sample(1_000, seed=1)
    run("events", files, archive=part)
    assert part.events.frame.equals(whole.events.frame)


MAPPING = """
[file]
delimiter = ";"
encoding = "windows-1252"
[events]
user_id = { column = "Kunde", integer = true }
item_id = "Artikel"
event_type = { column = "Aktion", values = { Kauf = "purchase", Blick = "view" } }
timestamp = { column = "Zeit", format = "%d.%m.%Y %H:%M", timezone = "Europe/Berlin" }
value = { column = "Preis", decimal = "," }
context = { shop = "Filiale" }
[items]
item_id = "Artikel"
title = "Name"
brand = { constant = "Müller" }
price = { column = "Preis" }
categories = { column = "Pfad", separator = ">" }
tags = ["Farbe", "Filiale"]
attributes = { colour = "Farbe" }
[users]
user_id = "Kunde"
attributes = ["Filiale"]
"""
ROWS = (
    "Kunde;Artikel;Name;Aktion;Zeit;Preis;Filiale;Pfad;Farbe\n"
    "17850.0;A1;Käse\u00a0 laib;Kauf;01.07.2025 12:00;1.234,50;Köln;Essen > Käse;gelb\n"
    "17850;A2;;Blick;01.12.2025 12:00;;;;\n"
    ";A3;x;Blick;01.12.2025 12:00;12,00 €;;;\n"
    "17850;A4;x;Blick;31.02.2025 12:00;abc;;;\n"
    "17850;A5;x;Blick;01.01.1970 00:00;1;;;\n"
    "17850;A6;x;Blick;01.01.2099 00:00;1;;;\n"
    "17850;A7;x\n"
    "17850;A8;x;Ä!;01.12.2025 12:00;-1;;;\n"
)


def test_a_mapping_reads_a_german_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(MAPPING, encoding="utf-8")
    mapping = load_mapping(tmp_path / "map.toml")
    file = tmp_path / "rows.csv"
    file.write_bytes(ROWS.encode("windows-1252"))
    archive, report = run("events", [file], mapping)
    assert report.rejected == {
        "no user_id": 1,
        "timestamp is absent or cannot be read": 1,
        "timestamp is absurd: not between 1990 and 2100": 1,
        "timestamp lies in the future": 1,
        "line has too few fields": 1,
        "event_type is not a word of up to 32 letters": 1,
    }
    assert archive.events.frame.select(
        "user_id", "item_id", "event_type", "value", "context"
    ).rows() == [
        ("17850", "A1", "purchase", 1234.5, '{"shop":"Köln"}'),
        ("17850", "A2", "view", None, None),
    ]
    assert archive.events.frame["timestamp"].to_list() == [
        datetime(2025, 7, 1, 10, tzinfo=UTC),
        datetime(2025, 12, 1, 11, tzinfo=UTC),
    ]
    rejects = [
        orjson.loads(line) for line in file.with_suffix(".rejected").read_bytes().splitlines()
    ]
    assert sorted(reject["line"] for reject in rejects) == [4, 5, 6, 7, 8, 9]
    assert {reject["file"] for reject in rejects} == {str(file)}
    assert next(r for r in rejects if r["line"] == 5)["row"]["Zeit"] == "31.02.2025 12:00"

    archive, report = run("items", [file], mapping)
    assert archive.items[0] == Item(
        item_id="A1",
        title="Käse laib",
        brand="Müller",
        price=1234.5,
        categories=("Essen", "Käse"),
        tags=("gelb", "Köln"),
        attributes={"colour": "gelb"},
    )
    assert report.repaired["price cannot be read: left out"] == 1
    assert report.repaired["price is negative or absurd: left out"] == 1
    assert report.repaired["price read by the rule for decimal signs"] == 2

    archive, report = run("users", [file], mapping)
    assert User(user_id="17850.0", attributes={"Filiale": "Köln"}) in archive.users


def test_presets_go_into_the_archive_once(tmp_path: Path) -> None:
    file = tmp_path / "shop.txt"
    file.write_text("1 10 11 12\n2 11\n")
    archive = MemoryArchive()
    with ImportReport() as report:
        import_preset("sequences", file, ArchiveSink(archive, report))
    assert (report.accepted, len(archive.items)) == (4, 3)
    with ImportReport() as report:
        import_preset("sequences", file, ArchiveSink(archive, report))
    assert (report.accepted, report.skipped) == (0, {"the archive has the event": 4})
    assert archive.events.frame.height == 4


def test_an_item_whose_availability_cannot_be_read_is_offered_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text("item_id,available\na,out_of_stock\nb,ask us\nc,\n")
    archive, report = run("items", [file])
    assert [item.available for item in archive.items] == [False, True, True]
    assert report.repaired == {"available cannot be read: taken as available": 1}


def test_a_mapping_may_say_no_more_than_how_the_file_is_written(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_bytes("item_id;title\na;Käse\n".encode("windows-1252"))
    form = '[file]\ndelimiter = ";"\nencoding = "windows-1252"\n'
    for mapping in (form, f'{form}[users]\nuser_id = "u"\n'):
        archive, _ = run("items", [file], mapping)
        assert archive.items == [Item(item_id="a", title="Käse")]


@pytest.mark.parametrize("source", ['"specs"', '{ column = "specs" }'])
def test_a_column_of_objects_is_named_as_any_other(tmp_path: Path, source: str) -> None:
    file = tmp_path / "rows.jsonl"
    good = dict(zip(HEAD.split(","), GOOD.split(","), strict=True))
    file.write_bytes(orjson.dumps(good | {"specs": {"colour": "red"}}))
    names = "".join(f'{name} = "{name}"\n' for name in HEAD.split(","))
    archive, _ = run("events", [file], f"[events]\n{names}context = {source}\n")
    assert archive.events.frame["context"].to_list() == ['{"colour":"red"}']
    for kind in ("item", "user"):
        mapping = f'[{kind}s]\n{kind}_id = "{kind}_id"\nattributes = {source}\n'
        archive, _ = run(f"{kind}s", [file], mapping)
        (record,) = archive.items or archive.users
        assert record.attributes == {"colour": "red"}
