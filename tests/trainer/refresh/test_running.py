"""Refreshes as an operator runs them: once, one at a time, and back again."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from errno import EDQUOT, ENOENT, ENOSPC
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs
from tensorflow.errors import ResourceExhaustedError

from feature_repo.shop_file import ShopFileError
from serving.bundle import MANIFEST
from serving.published_bundles import CURRENT, current_bundle, published_versions, set_current
from tests.support.tiny_bundle import build_tiny_bundle
from trainer.refresh.bundle_versions import (
    VersionError,
    bundle_versions,
    delete,
    promote,
    prune,
    rollback,
)
from trainer.refresh.lock import RefreshRunning
from trainer.refresh.notes import Choice, Notes
from trainer.refresh.refresh import RefreshOutcome
from trainer.refresh.resuming import RefreshCheckpoint
from trainer.refresh.running import Work, run_refresh
from trainer.refresh.runs_file import Run, RunsFile
from trainer.worker_lost import WORKER_LOST, WorkerLost

Begin = Callable[[str], None]
NOW = datetime(2026, 5, 1, tzinfo=UTC)
CHOICE = Choice(epochs=3, rows=(), has_ranker=False, fusion=None)


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    return tmp_path / "bundles"


def publishing(bundles: Path, day: int, refusals: tuple[str, ...] = ()) -> Work:
    """Return work that publishes a bundle of that day, as a refresh does."""

    def work(checkpoint: RefreshCheckpoint, begin: Begin) -> RefreshOutcome:
        created = NOW + timedelta(days=day)
        path = build_tiny_bundle(bundles, created_at=created, current=not refusals)
        checkpoint.notes = Notes(version=path.name)
        return RefreshOutcome(path, 1, (), refusals)

    return work


def refresh(
    bundles: Path,
    run_id: str | None,
    work: Work,
    *,
    keep: int = 10,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[Run, RefreshOutcome | None]:
    return run_refresh(bundles, bundles.parent / "training", run_id, work, keep=keep, clock=clock)


def refreshed(bundles: Path, day: int, *refusals: str, keep: int = 10) -> Run:
    work = publishing(bundles, day, refusals)
    run, _ = refresh(bundles, f"day-{day}", work, keep=keep, clock=lambda: NOW)
    return run


def serving(bundles: Path) -> str:
    path = current_bundle(bundles)
    assert path is not None
    return path.name


def test_a_run_of_one_id_is_done_once(bundles: Path) -> None:
    first = refreshed(bundles, 0)
    again, done = refresh(bundles, "day-0", publishing(bundles, 1))
    assert (again, done) == (first, None)
    assert published_versions(bundles) == [first.version]


def test_an_interrupted_run_goes_on_with_what_it_knew(bundles: Path) -> None:
    def killed(checkpoint: RefreshCheckpoint, begin: Begin) -> RefreshOutcome:
        checkpoint.notes = Notes(choice=CHOICE)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refresh(bundles, None, killed, clock=lambda: NOW)
    (interrupted,) = RunsFile(bundles).all()
    assert (interrupted.message, RunsFile(bundles).begun()) == ("interrupted", set())
    known: list[Choice | None] = []

    def resumed(checkpoint: RefreshCheckpoint, begin: Begin) -> RefreshOutcome:
        known.append(checkpoint.notes.choice)
        return publishing(bundles, 0)(checkpoint, begin)

    run, _ = refresh(bundles, None, resumed)
    assert known == [CHOICE]
    assert (run.run_id, run.status) == (interrupted.run_id, "published")


def test_killed_twice_between_publishing_and_writing_it_down_a_run_goes_on(
    bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = refreshed(bundles, 0)

    def publish(checkpoint: RefreshCheckpoint, begin: Begin) -> RefreshOutcome:
        version = checkpoint.notes.version
        if version is None:
            return publishing(bundles, 1)(checkpoint, begin)
        set_current(bundles, version)
        return RefreshOutcome(bundles / version, 1, (), ())

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(RunsFile, "add_promotion", killed)
            with pytest.raises(KeyboardInterrupt):
                refresh(bundles, None, publish, clock=lambda: NOW)
        # Whole, and what serves already.
        assert serving(bundles) == published_versions(bundles)[-1] != before.version
    run, _ = refresh(bundles, None, publish, clock=lambda: NOW)
    assert (run.status, run.version) == ("published", serving(bundles))
    assert published_versions(bundles) == [before.version, run.version]
    assert len(RunsFile(bundles).all()) == 2
    assert rollback(bundles, NOW) == before.version


def test_checkpoints_stay_until_it_is_written_down_how_the_run_ended(
    bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = bundles.parent / "training"
    checkpoints.mkdir()

    def run(work: Work) -> Run:
        run, _ = refresh(bundles, "day-0", work, clock=lambda: NOW)
        return run

    def failing(checkpoint: RefreshCheckpoint, begin: Begin) -> RefreshOutcome:
        raise ValueError("not yet")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(ValueError, match="not yet"):
        run(failing)
    assert checkpoints.exists()
    with monkeypatch.context() as patch:
        patch.setattr(RunsFile, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            run(publishing(bundles, 0))
    assert checkpoints.exists()
    published = serving(bundles)
    done = run(lambda checkpoint, begin: RefreshOutcome(bundles / published, 1, ()))
    assert (done.status, checkpoints.exists()) == ("published", False)


def test_what_a_killed_change_of_what_serves_has_left_is_removed(bundles: Path) -> None:
    bundles.mkdir()
    left, beside = (bundles / f".{CURRENT}.{number}" for number in range(2))
    for file, hours in ((left, 2), (beside, 0)):
        file.touch()
        written = (NOW - timedelta(hours=hours)).timestamp()
        os.utime(file, (written, written))
    refreshed(bundles, 0)
    # A promotion by hand may be at work on the other.
    assert [*bundles.glob(f".{CURRENT}.*")] == [beside]


def test_each_step_is_a_row_and_a_line(bundles: Path) -> None:
    def stepping(checkpoint: RefreshCheckpoint, begin: Begin) -> RefreshOutcome:
        begin("Training")
        begin("Exporting")
        return publishing(bundles, 0)(checkpoint, begin)

    with capture_logs() as lines:
        refresh(bundles, "day-0", stepping)
    steps = [line for line in lines if line["event"] == "refresh_step"]
    assert [(line["step"], line["outcome"]) for line in steps] == [
        ("Training", "done"),
        ("Exporting", "done"),
    ]
    assert {line["run_id"] for line in steps} == {"day-0"}
    assert list(RunsFile(bundles).step_seconds("day-0")) == ["Training", "Exporting"]

    def failing(checkpoint: RefreshCheckpoint, begin: Begin) -> RefreshOutcome:
        begin("Training")
        raise OSError("No space left on device")

    with capture_logs() as lines, pytest.raises(OSError, match="No space"):
        refresh(bundles, "day-1", failing)
    assert [line["outcome"] for line in lines if line["event"] == "refresh_step"] == ["failed"]


def test_a_failed_run_leaves_the_old_bundle_serving_and_may_be_tried_again(bundles: Path) -> None:
    first = refreshed(bundles, 0)

    def failing(checkpoint: RefreshCheckpoint, begin: Begin) -> RefreshOutcome:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        refresh(bundles, "day-1", failing)
    failed = RunsFile(bundles).all()[0]
    assert (failed.status, failed.message) == ("failed", "No space left on device")
    assert serving(bundles) == first.version
    assert refreshed(bundles, 1).status == "published"


@pytest.mark.parametrize(
    ("error", "gone_on_with"),
    [
        (OSError(ENOSPC, os.strerror(ENOSPC)), True),
        (OSError(EDQUOT, os.strerror(EDQUOT)), True),
        (OSError("1000000 requested and 131056 written"), True),
        (ResourceExhaustedError(None, None, "variables.index; No space left on device"), True),
        (ShopFileError("runs.sqlite: cannot be used: database or disk is full."), True),
        (WorkerLost(f"{WORKER_LOST}: see what it printed."), True),
        (FileNotFoundError(ENOENT, os.strerror(ENOENT)), False),
        (ResourceExhaustedError(None, None, "OOM when allocating tensor"), False),
        (ValueError("there is nothing to learn from"), False),
    ],
)
def test_a_run_that_failed_of_what_may_pass_is_gone_on_with_however_often_and_no_other(
    bundles: Path, error: Exception, *, gone_on_with: bool
) -> None:
    known: list[Choice | None] = []

    def failing(checkpoint: RefreshCheckpoint, begin: Begin) -> RefreshOutcome:
        known.append(checkpoint.notes.choice)
        checkpoint.notes = Notes(choice=CHOICE)
        raise error

    for second in range(3):
        moment = NOW + timedelta(seconds=second)
        with pytest.raises(type(error)):
            refresh(bundles, None, failing, clock=lambda moment=moment: moment)
    kept = CHOICE if gone_on_with else None
    assert known == [None, kept, kept]
    assert {run.status for run in RunsFile(bundles).all()} == {"failed"}
    # Overtaken, it stays what it is.
    later = NOW + timedelta(hours=1)
    refresh(bundles, "other", publishing(bundles, 0), clock=lambda: later)
    run, _ = refresh(bundles, None, publishing(bundles, 1), clock=lambda: NOW + timedelta(days=1))
    assert run.started_at == NOW + timedelta(days=1)


def test_what_was_not_compared_is_published_and_says_so(bundles: Path) -> None:
    def publish(checkpoint: RefreshCheckpoint, begin: Begin) -> RefreshOutcome:
        done = publishing(bundles, 0)(checkpoint, begin)
        return replace(done, left_open="it could not be compared")

    with capture_logs() as lines:
        run, _ = refresh(bundles, None, publish)
    assert (run.status, run.message) == ("published", "it could not be compared")
    (line,) = (line for line in lines if line["event"] == "refresh_published")
    assert line["left_open"] == run.message


def test_a_refused_candidate_is_kept_and_does_not_serve(bundles: Path) -> None:
    first = refreshed(bundles, 0)
    refused = refreshed(bundles, 1, "it is much worse")
    assert refused.status == "refused"
    assert serving(bundles) == first.version
    newest = bundle_versions(bundles)[0]
    assert (newest.version, newest.status) == (refused.version, "refused")
    assert newest.note == "it is much worse"
    # A person may know better.
    promote(bundles, newest.version, NOW)
    assert serving(bundles) == refused.version


def test_a_candidate_is_refused_and_nothing_pruned_where_it_is_not_known_what_serves(
    bundles: Path,
) -> None:
    first = refreshed(bundles, 0)
    (bundles / CURRENT).write_text("nobody knows")
    refused = refreshed(bundles, 1, "it is much worse", keep=1)
    assert refused.status == "refused"
    assert published_versions(bundles) == [first.version, refused.version]


def test_two_refreshes_at_once_are_one(bundles: Path) -> None:
    def second(checkpoint: RefreshCheckpoint, begin: Begin) -> RefreshOutcome:
        with pytest.raises(RefreshRunning, match="another refresh"):
            refreshed(bundles, 1)
        return publishing(bundles, 0)(checkpoint, begin)

    run, _ = refresh(bundles, "first", second)
    assert run.status == "published"


def test_rollback_goes_back_by_age_and_never_to_what_did_not_serve(bundles: Path) -> None:
    first, second = refreshed(bundles, 0), refreshed(bundles, 1)
    refreshed(bundles, 2, "worse")
    third = refreshed(bundles, 3)
    assert serving(bundles) == third.version
    assert rollback(bundles, NOW) == second.version == serving(bundles)
    assert rollback(bundles, NOW) == first.version == serving(bundles)
    with pytest.raises(VersionError, match="served before"):
        rollback(bundles, NOW)
    assert serving(bundles) == first.version


def test_rollback_never_goes_to_what_was_rolled_back_from(bundles: Path) -> None:
    good, bad = refreshed(bundles, 0), refreshed(bundles, 1)
    assert rollback(bundles, NOW) == good.version
    # It goes on from the good one, and is bad too. One bundle stays beside it, to go back to.
    worse = refreshed(bundles, 2, keep=1)
    assert published_versions(bundles) == [good.version, worse.version]
    assert rollback(bundles, NOW) == good.version
    with pytest.raises(VersionError, match=rf"served before {good.version}"):
        rollback(bundles, NOW)
    assert bad.version != serving(bundles) == good.version


def test_what_is_promoted_again_after_a_rollback_can_be_gone_back_to(bundles: Path) -> None:
    refreshed(bundles, 0)
    second = refreshed(bundles, 1)
    rollback(bundles, NOW)
    promote(bundles, str(second.version), NOW)
    refreshed(bundles, 2)
    assert rollback(bundles, NOW) == second.version


def test_a_corrupt_bundle_is_not_promoted(bundles: Path) -> None:
    first, second = refreshed(bundles, 0), refreshed(bundles, 1)
    promote(bundles, str(first.version), NOW)
    damaged = bundles / str(second.version) / "items.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    with pytest.raises(VersionError, match=r"items\.parquet.*SHA-256"):
        promote(bundles, str(second.version), NOW)
    assert serving(bundles) == first.version


def test_a_bundle_of_a_newer_schema_is_refused_by_version(bundles: Path) -> None:
    first, second = refreshed(bundles, 0), refreshed(bundles, 1)
    promote(bundles, str(first.version), NOW)
    manifest = bundles / str(second.version) / MANIFEST
    newer = orjson.loads(manifest.read_bytes()) | {"format": 3, "invented_later": True}
    manifest.write_bytes(orjson.dumps(newer))
    with pytest.raises(VersionError, match=rf"{second.version}.*`format` must be 2. Received: 3"):
        promote(bundles, str(second.version), NOW)
    assert serving(bundles) == first.version
    assert bundle_versions(bundles)[0].status == "broken"


def test_what_serves_cannot_be_deleted(bundles: Path) -> None:
    first, second = refreshed(bundles, 0), refreshed(bundles, 1)
    with pytest.raises(VersionError, match="serves"):
        delete(bundles, str(second.version))
    delete(bundles, str(first.version))
    assert published_versions(bundles) == [second.version]
    assert not [*bundles.glob(f"*{first.version}*")]
    with pytest.raises(VersionError, match="not published"):
        delete(bundles, str(first.version))


def test_the_newest_stay_and_what_serves_and_what_served_before(bundles: Path) -> None:
    versions = [str(refreshed(bundles, day).version) for day in range(5)]
    promote(bundles, versions[1], NOW)
    assert prune(bundles, 1) == versions[2:4]
    assert published_versions(bundles) == [versions[0], versions[1], versions[4]]


def test_a_version_whose_manifest_is_broken_is_listed_as_such(bundles: Path) -> None:
    path = build_tiny_bundle(bundles)
    (path / MANIFEST).write_text("{")
    assert [each.status for each in bundle_versions(bundles)] == ["broken"]


def test_a_bundle_that_served_before_there_was_a_table_can_be_gone_back_to(bundles: Path) -> None:
    old = build_tiny_bundle(bundles, created_at=NOW - timedelta(days=9))
    set_current(bundles, old.name)
    RunsFile(bundles).add_promotion(old.name, NOW, "train")
    refreshed(bundles, 0)
    assert rollback(bundles, NOW) == old.name
