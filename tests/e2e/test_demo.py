"""`riverrun demo` as a person runs it, on a shop that is trained already."""

import shutil
from pathlib import Path

import pytest

from tests.support import command, forked_command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_three_clicks_in_another_department_change_the_list(home: Path) -> None:
    done = command.riverrun("demo", "--once", "--home", str(home), "--port", "0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("  click  ") == 3
    assert "after the clicks" in done.stdout
    assert "With data of your own:" in done.stderr


def test_a_visit_that_fails_ends_the_demo_with_one_line(home: Path) -> None:
    # Nobody has done enough to be shown.
    shutil.rmtree(home / "archive" / "events")
    done = forked_command.riverrun("demo", "--once", "--home", str(home), "--port", "0")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("riverrun: ")] == lines[-1:]
    assert "the visit to the sample shop failed: " in lines[-1]
