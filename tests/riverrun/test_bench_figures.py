"""A table whose rows are printed as they are measured."""

import pytest
import typer

from riverrun.cli.bench_figures import INTERRUPTED, rows_as_measured

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
