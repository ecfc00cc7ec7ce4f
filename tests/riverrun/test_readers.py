"""Readers give every row once with its line, in batches of any size."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.importing.mapping import FileFormat
from riverrun.importing.raw_files import MAX_LINE, WRONG_ENCODING, BatchSize
from riverrun.importing.readers import read_batches
from riverrun.importing.report import LINE, ImportReport, RejectsFile

ROWS = pl.DataFrame({"a": [f"a{n}" for n in range(50)], "b": ["x\ny", 'q"q', "ü;,"] + ["b"] * 47})


def written(form: str) -> bytes:
    buffer = io.BytesIO()
    {
        "csv": lambda: ROWS.write_csv(buffer),
        "tsv": lambda: ROWS.write_csv(buffer, separator="\t"),
        "jsonl": lambda: ROWS.write_ndjson(buffer),
        "parquet": lambda: ROWS.write_parquet(buffer),
    }[form]()
    return buffer.getvalue()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("batch_rows", [1, 7, 50, 1_000])
def test_batches_of_any_size_give_the_same_rows(
    tmp_path: Path, form: str, packed: bool, batch_rows: int
) -> None:
    path = tmp_path / (f"rows.{form}.gz" if packed else f"rows.{form}")
    path.write_bytes(gzip.compress(written(form)) if packed else written(form))
    report = ImportReport()
    batches = list(read_batches(path, FileFormat(), report, BatchSize(batch_rows)))
    assert all(batch.frame.height <= batch_rows for batch in batches)
    assert pl.concat(batch.frame for batch in batches).drop(LINE).equals(ROWS)
    assert report.read == 50
    positions = [batch.position for batch in batches]
    assert positions == sorted(positions)
    assert positions[-1] <= path.stat().st_size


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('a,b\n1,"x\ny"\n\n2,z\n')
    (batch,) = read_batches(path, FileFormat(), ImportReport())
    assert batch.frame[LINE].to_list() == [2, 5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_encodings(tmp_path: Path, encoding: str, form: str) -> None:
    path = tmp_path / f"rows.{form}"
    path.write_bytes({"csv": "a\nü\n", "jsonl": '{"a": "ü"}\n'}[form].encode(encoding))
    settings = FileFormat(encoding="latin-1") if encoding == "latin-1" else FileFormat()
    (batch,) = read_batches(path, settings, ImportReport())
    assert batch.frame["a"].to_list() == ["ü"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf_8", "U8", "windows-1252", "ascii"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_byte_order_mark_says_more_than_the_mapping(
    tmp_path: Path, encoding: str, form: str
) -> None:
    path = tmp_path / f"rows.{form}"
    path.write_text({"csv": "a\nü\n", "jsonl": '{"a": "ü"}\n'}[form], "utf-8-sig")
    (batch,) = read_batches(path, FileFormat(encoding=encoding), ImportReport())
    assert batch.frame["a"].to_list() == ["ü"]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "shift_jis", "utf-16"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_bytes_of_another_encoding_cost_their_row_and_no_other(
    tmp_path: Path, encoding: str, form: str
) -> None:
    """A character that says that something was broken elsewhere is as good as any other."""
    rows = ["x", "b~d", "\ufffd" if encoding in ("utf-8", "utf-16") else "y"]
    path = tmp_path / f"rows.{form}"
    lines = [row if form == "csv" else f'{{"a": "{row}"}}' for row in rows]
    good = "\n".join(["a", *lines] if form == "csv" else lines).encode(encoding)
    broken = b"\x00\xdc" if encoding == "utf-16" else b"\xff"
    path.write_bytes(
        good.replace("~".encode(encoding)[-2 if encoding == "utf-16" else 0 :], broken)
    )
    report = ImportReport(rejects=RejectsFile(tmp_path / "rejected"))
    with report:
        (batch,) = read_batches(path, FileFormat(encoding=encoding), report)
    assert batch.frame["a"].to_list() == [rows[0], rows[2]]
    assert (report.read, report.rejected) == (3, {WRONG_ENCODING: 1})
    (rejected,) = (tmp_path / "rejected").read_text().splitlines()
    assert json.loads(rejected)["line"] == (3 if form == "csv" else 2)
    assert "b\ufffd" in rejected


def test_a_file_without_a_header_takes_its_columns_from_the_mapping(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("1;2\n3;4\n")
    settings = FileFormat(delimiter=";", columns=("a", "b"))
    (batch,) = read_batches(path, settings, ImportReport())
    assert batch.frame.rows() == [(1, "1", "2"), (2, "3", "4")]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (",a,b\n0,x,y\n1,z,\n", 1),  # as pandas writes the index of a frame
        ("a, ,b\nx,0,y\nz,1,\n", 2),
        ("a,b,\nx,y,\nz,,\n", 3),
        ("a,b,\nx,y\nz,\n", 3),
        ("a,b,,\nx,y,0,1\nz,\n", 3),
    ],
)
def test_a_column_without_a_name_is_left_out_and_told(
    tmp_path: Path, text: str, number: int
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    report = ImportReport()
    (batch,) = read_batches(path, FileFormat(), report)
    assert batch.frame.rows() == [(2, "x", "y"), (3, "z", "")]
    assert report.notes == [f"{path}: column {number} has no name: left out."]
    assert report.rejected == {}


def test_only_what_has_no_name_may_be_lacking(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b,\nx\nx,y,0,1\n")
    report = ImportReport()
    assert [batch.frame.height for batch in read_batches(path, FileFormat(), report)] == [0]
    assert report.rejected == {"line has too few fields": 1, "line has too many fields": 1}


def test_parquet_types_are_kept_for_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    frame = pl.DataFrame({"n": [1.0, None], "l": [["a"], []], "s": [{"k": 1}, None]})
    frame.write_parquet(path)
    (batch,) = read_batches(path, FileFormat(), ImportReport())
    assert batch.frame.drop(LINE).rows() == frame.rows()


@given(
    stray=st.sets(st.integers(0, 19)),
    quoted=st.sets(st.integers(0, 19)),
    form=st.sampled_from(["csv", "tsv"]),
    batch_rows=st.sampled_from([1, 3, 100]),
)
def test_a_stray_quote_costs_its_own_line(
    stray: set[int], quoted: set[int], form: str, batch_rows: int
) -> None:
    separator = "," if form == "csv" else "\t"
    titles = [
        '"17 inch' if n in stray else f'"two\nlines {n}"' if n in quoted else f"lamp {n}"
        for n in range(20)
    ]
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{form}"
        written_lines = [f"i{n}{separator}{title}" for n, title in enumerate(titles)]
        path.write_text("\n".join([f"id{separator}title", *written_lines]) + "\n")
        report = ImportReport(rejects=RejectsFile(path.with_suffix(".rejected")))
        batches = list(read_batches(path, FileFormat(), report, BatchSize(batch_rows)))
        report.close()
        rejects = path.with_suffix(".rejected")
        rejected = list(map(json.loads, rejects.read_text().splitlines())) if stray else []
    rows = [row for batch in batches for row in batch.frame.rows()]
    # Two lines take one more each; the header is the first.
    first_lines = [2 + n + len([m for m in quoted - stray if m < n]) for n in range(20)]
    assert rows == [
        (first_lines[n], f"i{n}", f"two\nlines {n}" if n in quoted else f"lamp {n}")
        for n in range(20)
        if n not in stray
    ]
    assert [reject["line"] for reject in rejected] == [first_lines[n] for n in sorted(stray)]
    assert report.read == 20
    assert report.rejected.total() == len(stray)


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_without_quotes_a_quotation_mark_is_a_character(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"rows.{form}"
    path.write_text('a\n"17 inch\n"x" y\n"z"\n')
    report = ImportReport()
    (batch,) = read_batches(path, FileFormat(quotes=False), report)
    assert batch.frame["a"].to_list() == ['"17 inch', '"x" y', '"z"']
    assert report.rejected == {}


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_batch_ends_where_its_rows_are_wide(tmp_path: Path, form: str) -> None:
    wide = pl.DataFrame({"a": [f"{n:03d}" + "x" * 10_000 for n in range(100)]})
    path = tmp_path / f"rows.{form}"
    {"csv": wide.write_csv, "jsonl": wide.write_ndjson}.get(form, write_uncompressed(wide))(path)
    batches = list(read_batches(path, FileFormat(), ImportReport(), BatchSize(1_000, 100_000)))
    assert pl.concat(batch.frame for batch in batches).drop(LINE).equals(wide)
    assert all(batch.frame.height <= 11 for batch in batches)


def write_uncompressed(frame: pl.DataFrame) -> Callable[[Path], None]:
    return lambda path: frame.write_parquet(path, compression="uncompressed", use_pyarrow=True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_line_without_an_end_is_one_row_that_is_rejected(
    tmp_path: Path, form: str, encoding: str
) -> None:
    path = tmp_path / f"rows.{form}"
    good = {"csv": "b\n", "jsonl": '{"a": "b"}\n'}[form]
    head = "a\n" if form == "csv" else good
    path.write_text(head + good + "x" * (2 * MAX_LINE + 5) + "\n" + good, encoding)
    report = ImportReport(rejects=RejectsFile(tmp_path / "rejected"))
    with report:
        (batch,) = read_batches(path, FileFormat(), report)
    assert batch.frame[LINE].to_list() == [2, 4] if form == "csv" else [1, 2, 4]
    assert batch.frame["a"].unique().to_list() == ["b"]
    assert report.rejected.total() == 1
    (rejected,) = (tmp_path / "rejected").read_text().splitlines()
    assert json.loads(rejected)["line"] == 3
    assert len(rejected) < 2_000
