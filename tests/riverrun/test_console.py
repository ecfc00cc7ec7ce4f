"""What commands print where nobody watches a terminal."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

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


MAIN = [sys.executable, "-m", "riverrun"]


def test_streams_that_are_closed_are_opened_on_nothing(tmp_path: Path) -> None:
    """Else the first files that a command opens get what is written to standard error."""
    named = "import os; from riverrun.cli.console import *; open_streams(); say('told'); "
    named += "found = {os.readlink(f'/proc/self/fd/{number}') for number in range(3)}; "
    named += "open('found', 'w').write(' '.join(found))"
    for command in ([sys.executable, "-c", named], [*MAIN, "settings"]):
        closed = f"exec {shlex.join(command)} <&- >&- 2>&-"
        subprocess.run(["sh", "-c", closed], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "found").read_text() == os.devnull


def test_what_an_encoding_lacks_ends_no_command(tmp_path: Path) -> None:
    """And settings are written as UTF-8, whatever it is."""
    file = tmp_path / "“a”.toml"
    file.write_text("# “ours”\n", "utf-8")
    tried = "from riverrun.cli.console import *; open_streams(); say('\\u201ca\\u201d', out); "
    tried += "from pathlib import Path; from riverrun.settings_file import write_settings; "
    tried += "write_settings(next(Path().glob('*.toml')), {'history_length': 9})"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    printed = subprocess.run(
        [sys.executable, "-c", tried],
        env={**environment, "PYTHONIOENCODING": "ascii"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout == "\\u201ca\\u201d\n"
    assert file.read_text("utf-8") == "# “ours”\nhistory_length = 9\n"
