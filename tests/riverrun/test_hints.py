"""A command that is named as the next one works on the same shop, copied as it stands."""

import re
import shlex
from itertools import permutations
from pathlib import Path

import pytest
from typer.testing import CliRunner

from riverrun.cli.main import app
from riverrun.errors import UserError
from riverrun.settings import load_settings
from tests.support.tiny_bundle import build_tiny_bundle, tiny_items


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "a shop [2]"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "of this shop.toml"
    file.write_text("history_length = 9\n")
    return file


def hinted(*arguments: str) -> list[str]:
    """Return the words of the command that is named, whether as the next one or in an error."""
    result = CliRunner().invoke(app, arguments)
    said = str(result.exception) if isinstance(result.exception, UserError) else result.output
    (command,) = re.findall(
        r"(?:next: |[Tt]o (?:make one|import \w+): )riverrun (.*?)(?:  |$)", said, re.MULTILINE
    )
    return shlex.split(command)


@pytest.mark.parametrize(
    ("command", "following"),
    [
        (["models"], ["train"]),
        (["models", "rollback"], ["train"]),
        (["models", "export", "--to", "there"], ["train"]),
        (["drift"], ["train"]),
        (["evaluate", "--served"], ["train"]),
        (["serve", "--port", "0"], ["train"]),
        (["topics", "list"], ["up"]),
        (["import", "users", "USERS"], ["import", "items", "FILE"]),
    ],
)
@pytest.mark.parametrize("with_file", [False, True])
def test_a_command_that_is_named_next_names_the_shop(
    command: list[str], following: list[str], home: Path, file: Path, *, with_file: bool
) -> None:
    users = home.parent / "users.csv"
    users.write_text("user_id\nu1\n")
    shop = ["--home", str(home), *(["--settings", str(file)] if with_file else [])]
    given = [str(users) if word == "USERS" else word for word in command]
    assert hinted(*given, *shop) == [*following, *shop]


ROWS = {
    "users": "user_id\nu1\n",
    "items": "item_id\ni1\n",
    "events": "event_id,user_id,item_id,event_type,timestamp\ne1,u1,i1,view,2026-01-02T03:04:05Z\n",
}


@pytest.mark.parametrize("order", [*permutations(ROWS)])
def test_after_an_import_what_a_training_still_needs_is_next(
    order: tuple[str, ...], home: Path
) -> None:
    """And `riverrun train` names it too, until there is all of it."""
    shop = ["--home", str(home)]
    done: list[str] = []
    for kind in order:
        file = home.parent / f"{kind}.csv"
        file.write_text(ROWS[kind])
        missing = [each for each in ("items", "events") if each not in done]
        assert hinted("train", *shop) == ["import", missing[0], "FILE", *shop]
        done.append(kind)
        following = hinted("import", kind, str(file), *shop)
        missing = [each for each in ("items", "events") if each not in done]
        if not missing:
            assert following == ["train", *shop]
            return
        assert following == ["import", missing[0], "FILE", *shop]


def test_a_sample_is_imported_from_whatever_folder_it_is_in(tmp_path: Path) -> None:
    # To rich the one would be an end of bold text, the other a picture.
    folder, home = tmp_path / "a [/b] shop", tmp_path / ":car:"
    few = ["--items", "100", "--users", "10", "--events", "10"]
    assert hinted("sample", "--out", str(folder), *few) == ["import", "shop", str(folder)]
    result = CliRunner().invoke(app, ["import", "shop", str(folder), "--home", str(home)])
    assert f"report: {home}/imports/" in result.output, result.output


def test_beside_a_bundle_too(home: Path, file: Path) -> None:
    build_tiny_bundle(home / "bundles", tiny_items(12))
    shop = ["--home", str(home), "--settings", str(file)]
    # There is nothing older to go back to.
    assert hinted("models", *shop) == ["refresh", *shop]
    (home / "bundles" / "CURRENT").write_text("nothing")
    refused = CliRunner().invoke(app, ["models", *shop]).exception
    assert shlex.join(["models", "promote", "VERSION", *shop]) in str(refused)


def test_without_options_the_settings_that_lie_there_are_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "riverrun.toml").write_text('home = "shop"\n')
    assert load_settings().options == "--home shop"
