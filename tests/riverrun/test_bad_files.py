"""A file that cannot be used is one line, which names it and the way on, and exit code 2."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from feature_repo.archive import Archive
from riverrun.cli import main as command_line
from riverrun.errors import UserError
from serving.bundle import MANIFEST, DataWindow, read_manifest
from serving.published_bundles import CURRENT
from serving.ranking.bundle_files import FOLDER, FUSION
from serving.ranking.calibrated_fusion import CalibratedFusion
from tests.support.tiny_bundle import build_tiny_bundle, tiny_items, tiny_ranking
from tests.support.tiny_refresh import events
from tests.support.tiny_training import START


@pytest.fixture
def home(tmp_path: Path) -> Path:
    build_tiny_bundle(tmp_path / "bundles", tiny_items(12))
    return tmp_path


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> str:
    """Return the line with which the command refuses."""
    monkeypatch.setattr("sys.argv", ["riverrun", *arguments])
    with pytest.raises(SystemExit) as exit_:
        command_line.main()
    assert exit_.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    [line] = said.err.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("file", "way_on"),
    [
        ("log.sqlite", "riverrun rebuild"),
        ("online.sqlite", "riverrun rebuild"),
        ("registry.db", "the next start makes it again"),
        ("checkpoint.sqlite", "riverrun rebuild"),
        ("bundles/runs.sqlite", "the bundles stay"),
    ],
)
def test_a_damaged_file_of_the_shop_is_named(
    home: Path,
    file: str,
    way_on: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (home / file).write_bytes(b"\xff no database at all \xff" * 100)
    line = refused(monkeypatch, capsys, "up", "--port", "0", "--home", str(home))
    assert str(home / file) in line
    assert way_on in line


@pytest.mark.parametrize("kind", ["items", "events"])
@pytest.mark.parametrize("command", [["up", "--port", "0"], ["drift"], ["rebuild"]])
def test_a_damaged_archive_is_named(
    home: Path,
    command: list[str],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    [manifest] = (home / "bundles").glob(f"*/{MANIFEST}")
    window = DataWindow(start=START, end=START, events=0)
    changed = read_manifest(manifest.parent).model_copy(update={"data_window": window})
    manifest.write_text(changed.model_dump_json())
    archive = Archive(home / "archive")
    archive.write_items("some", tiny_items(1))
    archive.events.write("some", events(0, 1))
    [file] = (home / "archive" / kind).rglob("*.parquet")
    file.write_bytes(b"no table at all")
    line = refused(monkeypatch, capsys, *command, "--home", str(home))
    assert line.startswith(f"riverrun: {home / 'archive'}: ")


@pytest.mark.parametrize("command", [["import", "users"], ["rebuild"]])
def test_a_damaged_mark_of_an_erasure_is_named(
    home: Path,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Archive(home / "archive").marks.write(0, {"u": 7}, {})
    mark = home / "archive" / "erasures" / "00000.json"
    mark.write_bytes(b'[0,{"u"')
    users = home / "users.csv"
    users.write_text("user_id\nu\n")
    files = [str(users)] if command[0] == "import" else []
    line = refused(monkeypatch, capsys, *command, *files, "--home", str(home))
    assert line.startswith(f"riverrun: {mark}: cannot be used: ")


@pytest.mark.parametrize("command", ["up", "serve", "models", "train", "refresh", "drift", "tune"])
def test_a_home_that_is_no_folder_is_refused(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "shop"
    file.touch()
    line = refused(monkeypatch, capsys, command, "--home", str(file))
    assert line == f"riverrun: settings: home: must be a folder. Received: {str(file)!r}."


def test_what_fails_of_a_place_is_one_line_and_what_fails_otherwise_is_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    line = refused(monkeypatch, capsys, "models", "--home", str(file / "below"))
    assert line.startswith(f"riverrun: {file}")
    assert line.endswith(os.strerror(errno.ENOTDIR) + ".")

    def fail(**_: object) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor", "somewhere")

    monkeypatch.setattr(command_line, "app", fail)
    with pytest.raises(OSError, match="Bad file"):
        command_line.main()


def test_a_long_reason_is_one_line_and_keeps_its_brackets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "[items] " + "/a/long/path" * 30

    def fail(**_: object) -> None:
        raise UserError(reason)

    monkeypatch.setattr(command_line, "app", fail)
    assert refused(monkeypatch, capsys) == f"riverrun: {reason}"


def test_models_lists_what_there_is_beside_a_damaged_file(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = replace(
        tiny_ranking(12, has_ranker=False),
        fusion=CalibratedFusion(weights={"ease": 0.25, "text": 0.5}, temperature=1.4),
    )
    bundle = build_tiny_bundle(home / "bundles", tiny_items(12), seed=2, ranking=data)
    (bundle / FOLDER / FUSION).write_text("{")
    monkeypatch.setattr("sys.argv", ["riverrun", "models", "--home", str(home)])
    with pytest.raises(SystemExit) as exit_:
        command_line.main()
    assert exit_.value.code == 0
    said = capsys.readouterr()
    assert f"{bundle.name}: bundle file {bundle / FOLDER / FUSION}: " in said.out
    assert "riverrun refresh" in said.err


@pytest.mark.parametrize(
    "command", [["models"], ["models", "rollback"], ["models", "export", "--to", "there"]]
)
def test_a_damaged_name_of_what_serves_is_told_with_what_mends_it(
    command: list[str],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    current = home / "bundles" / CURRENT
    current.write_text("nothing")
    line = refused(monkeypatch, capsys, *command, "--home", str(home))
    assert str(current) in line
    assert "riverrun models promote" in line
