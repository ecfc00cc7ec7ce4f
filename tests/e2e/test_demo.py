"""`riverrun demo` as a person runs it, on a shop that is trained already."""

import re
import shutil
from pathlib import Path

import pytest

from tests.support import command, forked_command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def listed(said: str) -> str:
    """Return the items of the table in `said`, wherever its lines are broken."""
    cells = [line.split("│")[1] for line in said.splitlines() if line.startswith("│")]
    return " ".join(" ".join(cells).split())


def test_three_clicks_in_another_department_change_the_list(home: Path) -> None:
    done = command.riverrun("demo", "--once", "--home", str(home), "--port", "0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("  click  ") == 3
    before, after = (listed(part) for part in done.stdout.split(", after the clicks"))
    assert "" != before != after != ""
    took = re.search(
        r"From the click to the new list: (\d+) ms \((\d+) ms .* (\d+) ms", done.stdout
    )
    assert took is not None, done.stdout
    whole, applied, answered = map(int, took.groups())
    assert whole == pytest.approx(applied + answered, abs=1)  # each is rounded
    opened = re.search(r"open this URL: (http://127\.0\.0\.1:\d+)\s", done.stderr)
    assert opened is not None, done.stderr
    assert f"{opened[1]}/docs" in done.stderr
    assert "With data of your own:" in done.stderr
    commands = [
        line.partition("next: ")[2] for line in done.stderr.splitlines() if "next: " in line
    ]
    for part in ("import items products.csv", "import events orders.csv", "train && "):
        assert any(part in command for command in commands)


def test_a_visit_that_fails_ends_the_demo_with_one_line(home: Path) -> None:
    # Nobody has done enough to be shown.
    shutil.rmtree(home / "archive" / "events")
    done = forked_command.riverrun("demo", "--once", "--home", str(home), "--port", "0")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("riverrun: ")] == lines[-1:]
    assert "the visit to the sample shop failed: " in lines[-1]
