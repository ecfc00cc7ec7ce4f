"""What an import says of files, lines and mappings that are wrong or leave something out."""

import gzip
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.schema import NO_OWN_ADDRESS, Item
from riverrun.errors import UserError
from riverrun.importing.mapping import load_mapping
from riverrun.importing.raw_files import BatchSize
from riverrun.importing.readers import read_batches
from tests.riverrun.memory_archive import MemoryArchive, MemoryEvents
from tests.riverrun.run_import import GOOD, HEAD, run

BAD_FILES: list[tuple[str, bytes, str]] = [
    ("absent.csv", b"", "no such file"),
    ("empty.csv", b"\n", "the file is empty"),
    ("empty.jsonl.gz", gzip.compress(b""), "the file is empty"),
    ("mark.csv", b"\xef\xbb\xbf", "the first line is empty"),
    ("mark.tsv", b"\xff\xfe", "the first line is empty"),
    ("blank.csv", f"\n{HEAD}\n{GOOD}\n".encode(), "the first line is empty"),
    ("header.csv", HEAD.encode(), "has no rows"),
    ("events.txt", b"x", "the name must end in .csv"),
    ("sheet.csv", b"PK\x03\x04xxxx", "Excel"),
    ("events.csv", b"PAR1xxxx", "is a Parquet file"),
    ("events.parquet", GOOD.encode(), "is not a Parquet file"),
    ("cut.parquet", b"PAR1xxxx", "is not a Parquet file"),
    ("cut.csv.gz", gzip.compress(HEAD.encode() * 99)[:-12], "cannot be read"),
    ("typo.csv", f"{HEAD},prise\n{GOOD},1\n".encode(), "unknown column 'prise'"),
    ("short.csv", b"user_id,item_id\nu,i\n", "no column 'event_type'"),
    ("twice.csv", f"{HEAD},user_id\n{GOOD},u\n".encode(), "'user_id' stands twice"),
    ("nameless.csv", b",,\na,b,c\n", "the first line is empty"),
    ("semicolon.csv", HEAD.replace(",", ";").encode() + b"\nu;i", "Set `delimiter`"),
    (
        "quote.csv",
        f'"{HEAD}\n{GOOD}\n'.encode(),
        "the header cannot be read: a quote is not closed",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES, ids=[b[0] for b in BAD_FILES])
def test_a_bad_file_gets_a_clear_message(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    file = tmp_path / name
    if content:
        file.write_bytes(content)
    with pytest.raises(UserError) as raised:
        run("events", [file])
    assert message in str(raised.value)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


BAD_LINES: list[tuple[str, bytes, str]] = [
    ("csv", b"u,i", "line has too few fields"),
    ("csv", GOOD.encode() + b",x", "line has too many fields"),
    ("csv", GOOD.encode().replace(b"u,", b"\xe4,"), "bytes are not in the file's encoding"),
    ("csv", GOOD.encode().replace(b"u,", b" ,"), "no user_id"),
    ("csv", GOOD.encode().replace(b",i,", b",,"), "no item_id"),
    ("csv", GOOD.encode().replace(b"u,", b"u" * 129 + b","), "user_id is longer than 128"),
    ("csv", GOOD.encode().replace(b"view", b""), "no event_type"),
    ("csv", GOOD.encode().replace(b"view", b"9"), "event_type is not a word"),
    ("csv", GOOD.encode().replace(b"2026-01-01", b"soon"), "timestamp is absent or cannot be read"),
    ("csv", GOOD.encode().replace(b"2026-01-01", b"1970-01-01"), "timestamp is absurd"),
    ("csv", GOOD.encode().replace(b"2026-01-01", b"2031-01-01"), "timestamp lies in the future"),
    ("csv", GOOD.encode().replace(b"u,", b'"u,'), "a quote is not closed"),
    ("csv", GOOD.encode().replace(b"u,", b'"u"v,'), "a quote is not closed, or stands inside"),
    ("csv", GOOD.encode().replace(b"u,", b'"' + b"u" * (1 << 21) + b","), "a field is longer than"),
    ("csv", GOOD.encode().replace(b"u,", b"a\x00b,"), "user_id has unprintable characters"),
    ("csv", GOOD.encode().replace(b"u,", b"a\xc2\xa0b,"), "user_id has unprintable characters"),
    ("jsonl", b"{", "line is not JSON"),
    ("jsonl", b'{"user_id": "\\ud800"}', "line is not JSON"),
    ("jsonl", b"[1]", "line is no JSON object"),
    ("jsonl", b'{"user_id": "\xe4"}', "bytes are not in the file's encoding"),
    ("jsonl", b'{"user_id": "u"}', "no item_id"),
]


@pytest.mark.parametrize(("form", "line", "reason"), BAD_LINES)
def test_a_bad_line_is_rejected_with_its_reason(
    tmp_path: Path, form: str, line: bytes, reason: str
) -> None:
    file = tmp_path / f"events.{form}"
    good = dict(zip(HEAD.split(","), GOOD.split(","), strict=True))
    first = f"{HEAD}\n{GOOD}\n".encode() if form == "csv" else orjson.dumps(good) + b"\n\n"
    file.write_bytes(first + line + b"\n")
    archive, report = run("events", [file])
    assert archive.events.frame.height == 1
    assert [found.startswith(reason) for found in report.rejected] == [True]
    reject = orjson.loads(file.with_suffix(".rejected").read_bytes())
    assert (reject["file"], reject["line"]) == (str(file), 3)


def test_an_item_that_the_api_could_not_name_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text("item_id,title\na/similar,kettle\nb,pot\n")
    archive, report = run("items", [file])
    assert [item.item_id for item in archive.items] == ["b"]
    assert dict(report.rejected) == {f"item_id: {NO_OWN_ADDRESS}": 1}


@given(st.text(st.characters(codec="utf-8"), max_size=4).map(lambda text: f"a{text}b"))
def test_an_id_is_accepted_from_a_file_where_the_api_accepts_it(identifier: str) -> None:
    with TemporaryDirectory() as folder:
        events, items = Path(folder) / "events.jsonl", Path(folder) / "items.jsonl"
        values = [identifier, *GOOD.split(",")[1:]]
        events.write_bytes(orjson.dumps(dict(zip(HEAD.split(","), values, strict=True))))
        items.write_bytes(orjson.dumps({"item_id": f" {identifier}\t"}))
        archive, _ = run("events", [events])
        archive, _ = run("items", [items], archive=archive)
    try:
        expected = [Item(item_id=identifier)]
    except ValueError:
        expected = []
    assert archive.items == expected
    assert archive.events.frame["user_id"].to_list() == [item.item_id for item in expected]


BAD_MAPPINGS: list[tuple[str, str]] = [
    ("[events", "map.toml"),
    ("[event]\n", "event: unknown key"),
    ("[users]\nuser = 'x'\n", "users.user_id: is missing"),
    (
        "[users]\nuser_id = 3\n",
        "users.user_id: must be the name of a column, a list of names, or a table. Received: 3.",
    ),
    ("[users]\nuser_id = ['a', 3]\n", "users.user_id.columns.1: Input should be a valid string"),
    ("[users]\nuser_id = []\n", "one of `column`, `columns` and `constant`"),
    ("users = 'u'\n", "users: must be a table. Received: 'u'."),
    (
        "[items]\nitem_id = 'a'\nprice = ['p', 'q']\n",
        "items.price: must be the name of a column, or a table. Received: list.",
    ),
    (
        "[users]\nuser_id = { column = 'a', constant = 'b' }\n",
        "one of `column`, `columns` and `constant`",
    ),
    ("[file]\nencoding = 'latin-17'\n", "'latin-17'"),
    ("[file]\nencoding = 'rot13'\n", "'rot13'"),
    ("[file]\ndelimiter = ';;'\n", "file.delimiter"),
    ("[file]\ndelimiter = '\"'\n", "file.delimiter"),
    ("[users]\nuser_id = { column = 'u', values = {} }\n", "users.user_id.values"),
    ("[items]\nitem_id = 'a'\nprice = { column = 'p', scale = nan }\n", "items.price.scale"),
    ("[items]\nitem_id = 'a'\nprice = { column = 'p', decimal = ';' }\n", "items.price.decimal"),
    (
        "[items]\nitem_id = 'a'\npublished_at = { column = 'p', timezone = 'Mars' }\n",
        "Received: 'Mars'",
    ),
    (
        "[items]\nitem_id = 'a'\npublished_at = { column = 'p', timezone = 'localtime' }\n",
        "Received: 'localtime'",
    ),
    ("[items]\nitem_id = 'a'\npublished_at = { column = 'p', format = 'iso' }\n", "'iso'"),
]


@pytest.mark.parametrize(("text", "message"), BAD_MAPPINGS)
def test_a_bad_mapping_gets_a_clear_message(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.toml"
    path.write_text(text)
    with pytest.raises(UserError) as raised:
        load_mapping(path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_column_that_is_not_there_is_named_with_the_likely_one(tmp_path: Path) -> None:
    file, path = tmp_path / "users.csv", tmp_path / "map.toml"
    file.write_text("CustomerID,Country\n1,France\n")
    path.write_text("[users]\nuser_id = 'CustomerId'\n")
    with pytest.raises(UserError, match="Did you mean 'CustomerID'"):
        run("users", [file], load_mapping(path))
    with pytest.raises(UserError, match=r"need a table \[items\]"):
        run("items", [file], load_mapping(path))


SPARSE = """
[events]
user_id = "u"
item_id = "i"
event_type = { column = "t", default = "view" }
timestamp = "at"
query = "q"
context = ["shop"]
"""


@pytest.mark.parametrize("mapped", [True, False])
def test_rows_of_jsonl_say_only_what_they_have_to_say(
    tmp_path: Path, mapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key may be absent from a batch, from the whole file, or from all rows but a late one."""
    two_rows = partial(read_batches, size=BatchSize(rows=2))
    monkeypatch.setattr("riverrun.importing.run.read_batches", two_rows)
    file, path = tmp_path / "events.jsonl", tmp_path / "map.toml"
    path.write_text(SPARSE)
    keys = ("u", "i", "t", "at", "q") if mapped else (*HEAD.split(","), "query")
    rows = [dict(zip(keys, [f"u{n}", *GOOD.split(",")[1:]], strict=False)) for n in range(6)]
    rows[5][keys[-1]] = "lamp"
    del rows[2][keys[0]], rows[3][keys[0]]
    file.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    archive, report = run("events", [file], load_mapping(path) if mapped else None)
    assert archive.events.frame["query"].to_list() == [None, None, None, "lamp"]
    assert report.rejected == {"no user_id": 2}
    assert report.notes == ["no row of a file has 'shop', which the mapping names."] * mapped


def test_a_column_that_no_row_of_a_jsonl_file_has_is_told_at_its_end(tmp_path: Path) -> None:
    file, path = tmp_path / "events.jsonl", tmp_path / "map.toml"
    path.write_text(SPARSE.replace('"u"', '"user"'))
    file.write_text('{"users": "u", "i": "i", "at": "2026-01-01"}\n')
    with pytest.raises(UserError, match=r"no column 'user', which .* Did you mean 'users'"):
        run("events", [file], load_mapping(path))
    file.write_text('{"item_id": "u", "event_type": "view", "timestamp": "2026-01-01"}\n')
    with pytest.raises(UserError, match="no column 'user_id'"):
        run("events", [file])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("quiet.csv", f"{HEAD}\n", "has no rows"),
        ("quiet.csv", "", "the file is empty"),
        ("quiet.jsonl", "", "the file is empty"),
    ],
)
@pytest.mark.parametrize("place", range(3))
def test_a_day_without_events_is_noted(
    tmp_path: Path, name: str, content: str, said: str, place: int
) -> None:
    quiet = tmp_path / name
    quiet.write_text(content)
    days = [tmp_path / "first.csv", tmp_path / "second.csv"]
    for day in days:
        day.write_text(f"{HEAD}\n{GOOD.replace('u', day.stem)}\n")
    files = [*days[:place], quiet, *days[place:]]
    archive, report = run("events", files)
    assert archive.events.frame["user_id"].to_list() == ["first", "second"]
    assert report.notes == [f"{quiet}: {said}."]
    with pytest.raises(UserError, match="none of the files has a row"):
        run("events", [quiet, quiet])


def test_a_fault_of_the_archive_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    class Broken(MemoryEvents):
        def keys_of(self, day: date) -> pl.DataFrame:
            raise pl.exceptions.SchemaError(f"of {day}")

    archive = MemoryArchive()
    archive.events = Broken()
    file = tmp_path / "events.csv"
    file.write_text(f"{HEAD}\n{GOOD}\n")
    with pytest.raises(pl.exceptions.SchemaError, match="of 2026-01-01"):
        run("events", [file], archive=archive)
