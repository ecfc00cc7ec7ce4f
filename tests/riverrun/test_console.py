"""What commands print where nobody watches a terminal."""

import subprocess
import sys

import pytest

from riverrun.cli.console import say

TABLE = """
from rich.table import Table
from riverrun.cli.console import out
table = Table("topic", "state")
table.add_row("a-prefix.".ljust(120, "x"), "missing")
out.print(table)
"""


@pytest.mark.parametrize(("environment", "is_whole"), [({}, True), ({"COLUMNS": "60"}, False)])
def test_a_piped_table_keeps_long_names_whole(
    environment: dict[str, str], *, is_whole: bool
) -> None:
    command = [sys.executable, "-c", TABLE]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ("a-prefix.".ljust(120, "x") in printed.stdout) == is_whole


def test_a_line_is_said_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    line = "in /a[/b]/[red] c/:car: " + "x" * 200
    say(line)
    assert capsys.readouterr().err == f"{line}\n"
