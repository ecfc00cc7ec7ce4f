"""A file that an earlier version has written is read; a run that it left unfinished begins anew."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.published_bundles import set_current
from tests.support.tiny_bundle import build_tiny_bundle
from trainer.refresh.bundle_versions import bundle_versions, rollback
from trainer.refresh.notes import Notes
from trainer.refresh.refresh import RefreshOutcome
from trainer.refresh.resuming import RefreshCheckpoint
from trainer.refresh.running import run_refresh
from trainer.refresh.runs_file import Run, RunsFile

NOW = datetime(2026, 5, 1, tzinfo=UTC)
EARLIER = """
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, status TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT,
    version TEXT, message TEXT NOT NULL DEFAULT ''
);
CREATE TABLE notes (
    run_id TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run_id, name)
) WITHOUT ROWID;
CREATE TABLE steps (
    run_id TEXT NOT NULL, step TEXT NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (run_id, step)
);
CREATE TABLE drift (
    signal TEXT PRIMARY KEY, value REAL NOT NULL, version TEXT NOT NULL, at TEXT NOT NULL
);
CREATE TABLE promotions (
    number INTEGER PRIMARY KEY, at TEXT NOT NULL, version TEXT NOT NULL, reason TEXT NOT NULL
);
"""


@pytest.fixture
def versions(tmp_path: Path) -> list[str]:
    """Bundles of four days: the second serves, the third was rolled back from."""
    made = [
        build_tiny_bundle(tmp_path, created_at=NOW + timedelta(days=day)).name for day in range(4)
    ]
    set_current(tmp_path, made[1])
    return made


@pytest.fixture
def bundles(tmp_path: Path, versions: list[str]) -> Path:
    """Where an earlier version has run four refreshes, the last of which was killed."""
    first, second, third, fourth = versions
    at = NOW.isoformat()
    with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as file, file:
        file.executescript(EARLIER)
        file.executemany(
            "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)",
            [
                ("a", "published", at, at, second, ""),
                ("b", "published", at, at, third, "nobody could be asked"),
                ("c", "refused", at, at, fourth, "it is much worse"),
                ("d", "running", at, None, None, ""),
            ],
        )
        file.executemany(
            "INSERT INTO notes VALUES ('d', ?, ?)",
            [
                ("basis", '{"settings":"a1","current":null,"checkpoints":"b2"}'),
                ("start", '{"version":null,"reason":"no bundle serves yet"}'),
                ("choice", '{"epochs":3,"rows":[],"ranker":false,"fusion":null}'),
                ("version", '"20260601T000000Z-abcd"'),
            ],
        )
        file.execute("INSERT INTO steps VALUES ('a', 'Exporting', 2.5)")
        file.execute("INSERT INTO drift VALUES ('categories', 0.3, ?, ?)", (second, at))
        file.executemany(
            "INSERT INTO promotions (at, version, reason) VALUES (?, ?, ?)",
            [
                (at, first, "train"),
                (at, second, "refresh a"),
                (at, third, "refresh b"),
                (at, second, f"rolled back from {third}"),
            ],
        )
    return tmp_path


def test_a_file_of_an_earlier_version_is_read(bundles: Path, versions: list[str]) -> None:
    first, second, third, fourth = versions
    runs = RunsFile(bundles)
    assert runs.all() == [
        Run("d", "running", NOW, None, None, ""),
        Run("c", "refused", NOW, NOW, fourth, "it is much worse"),
        Run("b", "published", NOW, NOW, third, "nobody could be asked"),
        Run("a", "published", NOW, NOW, second, ""),
    ]
    assert runs.promoted() == [second, third, second, first]
    assert runs.rolled_back_from() == {third}
    assert runs.step_seconds("a") == {"Exporting": 2.5}
    assert runs.drift() == {"categories": 0.3}
    assert runs.ends() == {"published": 2, "refused": 1, "failed": 0}
    assert runs.newest() == runs.all()[0]
    assert runs.newest("published") == runs.all()[2]
    assert [(each.version, each.status, each.note) for each in bundle_versions(bundles)] == [
        (fourth, "refused", "it is much worse"),
        (third, "served", ""),
        (second, "serving", ""),
        (first, "served", ""),
    ]
    assert rollback(bundles, NOW) == first


def test_a_run_that_an_earlier_version_left_unfinished_begins_anew_and_ends(bundles: Path) -> None:
    known: list[Notes] = []

    def work(checkpoint: RefreshCheckpoint, begin: Callable[[str], None]) -> RefreshOutcome:
        known.append(checkpoint.notes)
        path = build_tiny_bundle(bundles, created_at=NOW + timedelta(days=9), current=True)
        return RefreshOutcome(path, 1, ())

    run, _ = run_refresh(bundles, bundles / "training", None, work, keep=10)
    assert known == [Notes()]
    assert (run.run_id, run.status) == ("d", "published")
    assert len(RunsFile(bundles).all()) == 4
