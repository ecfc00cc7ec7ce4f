"""The whole loop with real processes: sample, import, train, up; a click, and a broken bundle."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.forked_command import ForkedServer, forked_server, riverrun
from tests.support.views import view_each, viewed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def served(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(trained, tmp_path_factory.mktemp("served") / "shop"))


@pytest.fixture(scope="module")
def server(served: Path) -> Iterator[ForkedServer]:
    """One for tests that end neither it nor what it serves."""
    with forked_server(served) as running:
        yield running


def listed(url: str, **body: object) -> list[str]:
    answer = httpx.post(f"{url}/v1/recommend", json=body, timeout=30).raise_for_status().json()
    return [item["item_id"] for item in answer["items"]]


def post(url: str, path: str, body: object) -> None:
    parameters = {"wait": "applied"}
    httpx.post(f"{url}{path}", json=body, params=parameters, timeout=30).raise_for_status()


def test_a_click_changes_the_next_list(server: ForkedServer) -> None:
    before = listed(server.url, user_id="newcomer", limit=8)
    clicked = httpx.get(f"{server.url}/v1/items", params={"limit": 3, "offset": 40}).json()
    events = [
        {"user_id": "newcomer", "item_id": item["item_id"], "event_type": "view"}
        for item in clicked["items"]
    ]
    post(server.url, "/v1/events", events)
    assert listed(server.url, user_id="newcomer", limit=8) != before


def test_a_new_item_is_retrieved_by_its_text(server: ForkedServer) -> None:
    twin = httpx.get(f"{server.url}/v1/items", params={"limit": 1}).json()["items"][0]
    post(server.url, "/v1/items", twin | {"item_id": "just-arrived"})
    similar = httpx.get(f"{server.url}/v1/items/just-arrived/similar", timeout=30)
    assert len(similar.raise_for_status().json()["items"]) == 20
    httpx.delete(f"{server.url}/v1/items/just-arrived", params={"wait": "applied"}, timeout=30)
    assert httpx.get(f"{server.url}/v1/items/just-arrived").status_code == 404


def test_a_broken_bundle_is_refused_by_name_while_the_old_one_serves(home: Path) -> None:
    with forked_server(home) as server:
        bundles = home / "bundles"
        good = (bundles / "CURRENT").read_text().strip()
        broken = "29990101T000000Z-dead"
        shutil.copytree(bundles / good, bundles / broken)
        manifest = bundles / broken / "manifest.json"
        manifest.write_text(manifest.read_text().replace(good, broken))
        with (bundles / broken / "candidates" / "embeddings.npy").open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x7f")
        (bundles / "CURRENT").write_text(broken + "\n")
        deadline = time.monotonic() + 30
        log = home / "server.log"
        while "bundle_refused" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "embeddings.npy" in log.read_text()
        answer = httpx.post(f"{server.url}/v1/recommend", json={"user_id": "anyone"}, timeout=30)
        assert answer.raise_for_status().json()["model_version"] == good


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["up", "--home", "EMPTY"], "no bundle has been published"),
        (["train", "--home", "EMPTY"], "the catalogue is empty"),
        (["up", "--settings", "missing.toml"], "no such file"),
        (["refresh", "--full", "--days", "3"], "--full starts from nothing, and --days 3 does not"),
        (["drift", "--home", "EMPTY"], "serves no bundle"),
        (["replay", "--cold"], "--cold needs --refresh"),
        (["evaluate", "--preset", "[/x]", "--data", "x"], "'[/x]' has no evaluation protocol"),
        (["import", "events", "missing.csv", "--home", "EMPTY"], "missing.csv"),
        (["up", "--prot", "1"], "No such option: --prot"),
        (["nothing"], "No such command 'nothing'. See riverrun --help"),
    ],
)
def test_a_bad_command_line_is_one_clear_line(
    arguments: list[str], expected: str, tmp_path: Path
) -> None:
    done = riverrun(*[str(tmp_path / "empty") if word == "EMPTY" else word for word in arguments])
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("riverrun: ")
    assert expected in line


@pytest.mark.parametrize("command", ["up", "serve", "stream"])
def test_a_home_that_was_mistyped_is_not_made(command: str, tmp_path: Path) -> None:
    done = riverrun(command, "--home", str(tmp_path / "shpo"))
    assert done.returncode == 2, done.stderr
    assert "no bundle has been published" in done.stderr
    assert not (tmp_path / "shpo").exists()


def test_a_second_process_that_would_learn_from_the_log_is_refused(
    server: ForkedServer, served: Path
) -> None:
    for command in (["up", "--port", "0"], ["stream"], ["rebuild"]):
        done = riverrun(*command, "--home", str(served))
        assert done.returncode == 2, done.stderr
        assert "another process learns from" in done.stderr
        assert "Traceback" not in done.stderr
    assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_a_log_that_was_removed_is_no_start_until_a_rebuild(home: Path) -> None:
    with forked_server(home) as server:
        view_each(server.url, "survivor", ["A", "B"])
    for file in home.glob("log.sqlite*"):
        file.unlink()
    done = riverrun("up", "--port", "0", "--home", str(home))
    assert done.returncode == 2, done.stderr
    assert "Was the file removed or restored? `riverrun rebuild`" in " ".join(done.stderr.split())
    assert riverrun("rebuild", "--home", str(home)).returncode == 0
    with forked_server(home) as server:
        view_each(server.url, "newcomer", ["C"])
        assert viewed(server.url, "newcomer", 1) == ["C"]
        assert viewed(server.url, "survivor", 2) == ["A", "B"]
