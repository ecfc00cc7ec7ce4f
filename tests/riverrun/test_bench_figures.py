"""A table whose rows are printed as they are measured."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from feature_repo.archive import Archive
from riverrun.bench import server
from riverrun.cli import bench, bench_shops
from riverrun.cli.bench_figures import INTERRUPTED, rows_as_measured
from tests.support.tiny_bundle import tiny_items

COLUMNS = {"load": 10, "p50 ms": 8}


def test_a_row_is_there_before_the_next_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with rows_as_measured(COLUMNS, 2, 200) as (measuring, add_row):
        assert capsys.readouterr().out.split() == ["load", "p50", "ms"]
        for number in (1, 2):
            measuring(f"{number} callers")
            assert capsys.readouterr().err == f"{number} of 2: {number} callers ...\n"
            add_row(f"{number} callers", "3.5")
            assert capsys.readouterr().out.split() == [str(number), "callers", "3.5"]
    assert "200 items; " in capsys.readouterr().out


def test_what_is_interrupted_keeps_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    def measure() -> None:
        with rows_as_measured(COLUMNS, 2, 200) as (_, add_row):
            add_row("1 caller", "3.5")
            raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as ended:
        measure()
    assert ended.value.exit_code == INTERRUPTED
    said = capsys.readouterr()
    assert "1 caller" in said.out
    assert "200 items; " in said.out
    assert said.err == "interrupted: 1 of 2 rows were measured\n"


def test_a_kept_shop_of_another_size_is_the_one_that_figures_are_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Archive(tmp_path / "archive").import_items("kept", tiny_items(7))
    monkeypatch.setattr(bench_shops, "prepare_shop", lambda *_: None)
    running = SimpleNamespace(url="http://127.0.0.1", resident_bytes=0, peak_resident_bytes=0)
    monkeypatch.setattr(server, "running_server", lambda _: nullcontext(running))
    done = CliRunner().invoke(bench.app, ["memory", "--items", "500", "--home", str(tmp_path)])
    assert "7 items; " in done.output, done.exception
    assert "500 items" not in done.output
