"""A bundle that is damaged on disk while it serves: lists go on, and the next start says so."""

import re
import shlex
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from riverrun.cli import main
from serving.bundle import MANIFEST, MODEL
from serving.published_bundles import current_bundle, published_versions, set_current
from tests.support.tiny_bundle import CREATED_AT, build_tiny_bundle
from tests.support.tiny_shop import tiny_shop
from trainer.refresh.runs_file import RunsFile

FILES = (MANIFEST, f"{MODEL}/saved_model.pb", "candidates/embeddings.npy")


def damage(file: Path) -> None:
    """Turn every bit of it over, in the file that is there."""
    damaged = bytes(each ^ 0xFF for each in file.read_bytes())
    with file.open("r+b") as opened:
        opened.write(damaged)


def listed(client: TestClient) -> list[str]:
    body = {"session": [{"item_id": "i1", "event_type": "view"}], "limit": 5}
    answer = client.post("/v1/recommend", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_version"] == client.get("/readyz").json()["model_version"]
    return [item["item_id"] for item in answer.json()["items"]]


def test_lists_go_on_where_the_bundle_that_serves_is_damaged_or_gone(tmp_path: Path) -> None:
    with (
        tiny_shop(tmp_path, serving={"reload_seconds": 0.05}) as shop,
        TestClient(shop.app) as client,
    ):
        before, served = listed(client), current_bundle(tmp_path / "bundles")
        assert served is not None
        for file in filter(Path.is_file, served.rglob("*")):
            damage(file)
        # Promoted anew, it is read again if anybody would.
        set_current(tmp_path / "bundles", served.name)
        assert listed(client) == before
        for file in filter(Path.is_file, served.rglob("*")):
            file.write_bytes(b"")
        assert listed(client) == before
        assert shop.holder.current.bundle_version == served.name
        # The events that come are learned from, by the same model.
        event = {"user_id": "u", "item_id": "i1", "event_type": "view"}
        assert client.post("/v1/events?wait=applied", json=event).is_success


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", ["up", "serve"])
def test_a_start_names_the_damaged_file_and_the_command_that_helps(
    command: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home, bundles = ["--home", str(tmp_path)], tmp_path / "bundles"
    for day in (0, 1):
        made = build_tiny_bundle(bundles, created_at=CREATED_AT + timedelta(days=day))
        RunsFile(bundles).add_promotion(made.name, CREATED_AT, "train")
    damage(made / name)
    monkeypatch.setattr(sys, "argv", ["riverrun", command, "--port", "0", *home])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(made / name) in line
    (helps,) = re.findall(r"To serve what served before: riverrun (.*)", line)
    CliRunner().invoke(main.app, shlex.split(helps), catch_exceptions=False)
    current = current_bundle(bundles)
    assert current is not None
    assert current.name == published_versions(bundles)[0]
