"""`riverrun refresh` with real processes: killed at every step, and refused."""

import os
import resource
import signal
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from feature_repo.archive import Archive
from feature_repo.schema import Event, Item
from riverrun.cli.refresh import AT_WORK
from riverrun.drifting import DRIFTED
from serving.bundle import verify
from serving.published_bundles import current_bundle, published_versions
from tests.support.forked_command import forked, riverrun
from tests.support.quick_refresh import SETTINGS
from trainer.refresh.bundle_versions import bundle_versions
from trainer.refresh.runs_file import RunsFile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]

KILLS = 2
"""In a row, at every step."""
STEPS = (
    "Embedding texts",
    "Training, the newest events held out",
    "Training on everything",
    "Exporting",
    "Checking the bundle",
)


def refresh(home: Path, settings: str = SETTINGS) -> list[str]:
    file = home / "refresh.toml"
    file.write_text(settings)
    return ["refresh", "--home", str(home), "--settings", str(file)]


def kill_at(step: str, arguments: list[str], folder: Path) -> None:
    """Run the command until it says that the step begins, and kill -9 it there."""
    with forked(arguments, folder) as (process, stderr):
        said = []
        for line in stderr:
            said.append(line)
            if line.startswith(f"{step} ..."):
                process.kill()
                return
        pytest.fail(f"ended before {step!r}: {''.join(said)}")


def test_killed_at_every_step_a_refresh_goes_on_and_ends(home: Path, tmp_path: Path) -> None:
    old = current_bundle(home / "bundles")
    assert old is not None
    for step in STEPS:
        for _ in range(KILLS):
            kill_at(step, refresh(home), tmp_path)
            assert current_bundle(home / "bundles") == old
    done = riverrun(*refresh(home))
    assert done.returncode == 0, done.stderr
    (run,) = RunsFile(home / "bundles").all()[:1]
    assert run.status == "published"
    # One run, one bundle; nothing half made is left.
    assert published_versions(home / "bundles") == [old.name, run.version]
    assert not list((home / "bundles").glob(".building-*"))
    new = current_bundle(home / "bundles")
    assert new is not None
    assert new.name == run.version
    assert verify(new).parent == old.name


def test_a_fault_that_may_pass_ends_with_1_and_the_run_goes_on_without_it(home: Path) -> None:
    """No file may be as large as a SavedModel is."""
    arguments = [*refresh(home), "--run-id", "the-one"]
    small_files = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (16 << 20, 16 << 20))
    failed = riverrun(*arguments, before=small_files)
    assert failed.returncode == 1, failed.stderr
    assert f"riverrun: {home}: " in failed.stderr
    assert "Traceback" not in failed.stderr
    assert RunsFile(home / "bundles").get("the-one").status == "failed"
    done = riverrun(*arguments)
    assert done.returncode == 0, done.stderr
    assert "Training on everything" in done.stderr
    assert RunsFile(home / "bundles").get("the-one").status == "published"


def test_of_two_refreshes_at_once_one_works_and_the_other_says_so(
    home: Path, tmp_path: Path
) -> None:
    with forked(refresh(home), tmp_path) as (first, said):
        assert any(line.startswith("Embedding texts ...") for line in said)
        assert first.pid is not None
        # However long the other takes to begin.
        os.kill(first.pid, signal.SIGSTOP)
        try:
            second = riverrun(*refresh(home))
        finally:
            os.kill(first.pid, signal.SIGCONT)
        assert (second.returncode, first.exitcode) == (AT_WORK, None), second.stderr
        assert "another refresh is at work" in second.stderr
        rest = said.read()
    assert first.exitcode == 0, rest
    assert [run.status for run in RunsFile(home / "bundles").all()] == ["published"]


def test_drift_ends_with_a_code_of_its_own_where_it_asks_for_a_refresh(home: Path) -> None:
    (home / "riverrun.toml").write_text("[refresh.drift]\nmin_events = 50\n")
    command = ["drift", "--home", str(home), "--settings", str(home / "riverrun.toml")]
    quiet = riverrun(*command)
    assert quiet.returncode == 0, quiet.stderr
    archive = Archive(home / "archive")
    newest = archive.events.scan().collect()["timestamp"].max()
    assert isinstance(newest, datetime)
    unseen = [
        Event(
            event_id=f"late-{number}",
            user_id="u",
            item_id="never-seen",
            event_type="view",
            timestamp=newest + timedelta(seconds=1 + number),
        )
        for number in range(60)
    ]
    archive.events.write("late", unseen)
    archive.write_items("late", [Item(item_id="never-seen", title="kettle")])
    drifted = riverrun(*command)
    assert drifted.returncode == DRIFTED, drifted.stderr
    assert "riverrun refresh" in drifted.stderr
    assert RunsFile(home / "bundles").drift()["unseen_items"] == 1.0


def test_what_stays_wrong_ends_with_2(tmp_path: Path) -> None:
    home = tmp_path / "shop"
    home.mkdir()
    wrong = riverrun(*refresh(home, SETTINGS + "min_user = 3\n"))
    assert (wrong.returncode, "min_user" in wrong.stderr) == (2, True)
    empty = riverrun(*refresh(home))
    assert (empty.returncode, "the catalogue is empty" in empty.stderr) == (2, True)
    Archive(home / "archive").write_items("some", [Item(item_id="i")])
    unknown = riverrun(*refresh(home))
    assert (
        unknown.returncode,
        "To import events: riverrun import events FILE" in unknown.stderr,
    ) == (
        2,
        True,
    )


def test_a_refused_refresh_says_why_and_leaves_the_old_bundle_serving(home: Path) -> None:
    old = current_bundle(home / "bundles")
    impossible = SETTINGS + 'min_value = { "all/ndcg@10" = 1.0 }\n'
    done = riverrun(*refresh(home, impossible))
    assert done.returncode == 3, done.stderr
    assert "min_value asks for 1.0000" in " ".join(done.stderr.split())
    assert current_bundle(home / "bundles") == old
    newest = bundle_versions(home / "bundles")[0]
    assert newest.status == "refused"
    listed = riverrun("models", "--home", str(home))
    # Whole, on a terminal of 80 columns too.
    lines = listed.stdout.splitlines()
    (row,) = (line for line in lines if line.startswith(f"{newest.version} "))
    assert newest.manifest is not None
    assert f"{newest.manifest.data_window.start:%Y-%m-%d}" in row
    assert str(newest.manifest.parent) in row
    promoted = riverrun("models", "promote", newest.version, "--home", str(home))
    assert promoted.returncode == 0, promoted.stderr
    back = riverrun("models", "rollback", "--home", str(home))
    assert back.returncode == 0, back.stderr
    assert current_bundle(home / "bundles") == old
