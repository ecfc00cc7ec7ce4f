"""What the demo does with any list, and where `riverrun` is not on the PATH."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.cli.demo import another, called

DEPARTMENTS = st.lists(st.sampled_from("ABCDEF"), min_size=1, unique=True)


@given(DEPARTMENTS, st.lists(st.sampled_from("ABCDEFG"), max_size=8))
def test_another_department_is_clicked_in_wherever_there_is_one(
    departments: list[str], shown: list[str]
) -> None:
    items = [{"categories": [name, "any"]} for name in shown]
    clicked = another(departments, [*items, {"categories": []}])
    assert clicked in departments
    assert clicked not in shown or set(departments) <= set(shown)


def test_the_department_is_the_next_one_after_that_of_the_list() -> None:
    items = [{"categories": [name]} for name in "CCAD"]
    assert another("FEDCBA", items) == "E"
    assert another("CBA", items) == "B"


@pytest.mark.parametrize("script", ["riverrun", "__main__.py"])
def test_the_command_is_named_as_a_shell_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    folder = tmp_path / "a checkout" / ".venv" / "bin"
    folder.mkdir(parents=True)
    installed = folder / "riverrun"
    installed.write_text(f'#!/bin/sh\nexec {sys.executable} -m riverrun "$@"\n')
    installed.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(folder / script), "demo"])
    monkeypatch.setenv("PATH", str(folder))
    assert called() == "riverrun"
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    command = [*shlex.split(called()), "--version"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert said.startswith("riverrun ")
