"""`riverrun evaluate --slices`: lists by how much is known of users and items."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import orjson
import polars as pl
import pytest

from feature_repo.archive import Archive
from riverrun.cli.console import out
from riverrun.cli.evaluate import evaluate
from riverrun.cli.train import train
from riverrun.errors import UserError
from riverrun.evaluating import preset_question
from riverrun.importing import PresetData
from riverrun.protocols import PROTOCOLS, HeldOut
from riverrun.settings import Settings, load_settings
from tests.support import tiny_training as tiny
from tests.support.step_by_step import step_by_step
from tests.support.tiny_refresh import USERS, events

SETTINGS = f"""\
home = "{{home}}"

{tiny.TRAINING}epochs = 1
holdout_share = 0.2

[training.ranking]
enabled = false
"""
NEWCOMERS = ("u000", "u001", "u002")


@pytest.fixture(autouse=True, scope="module")
def _step_by_step() -> Iterator[None]:
    with step_by_step():
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A shop of 20 hours in which some users, and one item, are new after that."""
    file = tmp_path / "riverrun.toml"
    preset = tiny.tiny_preset(tmp_path / "bert")
    file.write_text(SETTINGS.format(home=tmp_path / "shop", preset=preset))
    known = events(0, 20).filter(~pl.col("user_id").is_in(NEWCOMERS))
    archive = Archive(load_settings(file).archive)
    archive.events.write("known", known.filter(pl.col("item_id") != "i7"))
    archive.write_items("tiny", tiny.tiny_items())
    return file


def asked(file: Path, **options: Any) -> list[dict[str, Any]]:
    json = file.parent / "table.json"
    evaluate(settings_file=file, json=json, **options)
    return cast(list[dict[str, Any]], orjson.loads(json.read_bytes()))


@pytest.mark.slow
def test_newcomers_and_new_items_are_asked_about_beside_the_others(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "width", 200)
    train(settings_file=file)
    with pytest.raises(UserError, match=r"nothing to ask about.* ask .*: without --served"):
        asked(file, served=True)
    Archive(load_settings(file).archive).events.write("new", events(20, 24))
    capsys.readouterr()
    for served in (False, True):
        rows = asked(file, slices=True, served=served)
        assert "everyone, ndcg@10 by number of events" in capsys.readouterr().out
        of_everyone = [row for row in rows if row["task"] == "everyone"]
        of_others = [row for row in rows if row["task"] != "everyone"]
        assert {row["scorer"] for row in of_everyone} == {row["scorer"] for row in of_others}
        for row in of_everyone:
            users = {name: part["users"] for name, part in row["slices"].items()}
            assert users["users with 0 events"] == len(NEWCOMERS)
            assert sum(count for name, count in users.items() if "users" in name) == USERS
            assert users["items with 0 events"] > 0
    plain = asked(file, served=True)
    assert [row["task"] for row in plain] == [row["task"] for row in of_others]
    assert not any("slices" in row for row in plain)


def told_apart(held_out: HeldOut, name: str) -> HeldOut:
    """Return one whose splits are words that say which they are, and of what."""

    def everyone(data: PresetData) -> Any:
        return f"everyone_{name} of {data}"

    return replace(
        held_out,
        split=lambda data: cast(Any, f"{name} of {data}"),
        everyone=held_out.everyone and everyone,
    )


@pytest.mark.parametrize("validation", [False, True])
def test_a_preset_asks_newcomers_where_its_protocol_has_a_split_of_them(
    validation: bool,
) -> None:
    for preset in ("online-retail", "sequences"):
        protocol, data = PROTOCOLS[preset], cast(PresetData, preset)
        protocol = replace(
            protocol,
            validation=told_apart(protocol.validation, "validation"),
            test=told_apart(protocol.test, "test"),
        )
        question = preset_question(protocol, data, Settings(), validation=validation)
        part = "validation" if validation else "test"
        plain, everyone = f"{part} of {preset}", f"everyone_{part} of {preset}"
        assert question.asked(with_slices=False) == [(plain, False)]
        sliced = [(plain, False), (everyone, True)] if preset != "sequences" else [(plain, True)]
        assert question.asked(with_slices=True) == sliced
