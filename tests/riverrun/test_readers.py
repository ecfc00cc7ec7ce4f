"""Readers give every row once with its line, in batches of any size."""

import gzip
import io
from pathlib import Path

import polars as pl
import pytest

from riverrun.importing.mapping import FileFormat
from riverrun.importing.readers import read_batches
from riverrun.importing.report import LINE, ImportReport

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
    batches = list(read_batches(path, FileFormat(), report, batch_rows))
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


def test_a_file_without_a_header_takes_its_columns_from_the_mapping(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("1;2\n3;4\n")
    settings = FileFormat(delimiter=";", columns=("a", "b"))
    (batch,) = read_batches(path, settings, ImportReport())
    assert batch.frame.rows() == [(1, "1", "2"), (2, "3", "4")]


def test_parquet_types_are_kept_for_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    frame = pl.DataFrame({"n": [1.0, None], "l": [["a"], []], "s": [{"k": 1}, None]})
    frame.write_parquet(path)
    (batch,) = read_batches(path, FileFormat(), ImportReport())
    assert batch.frame.drop(LINE).rows() == frame.rows()
