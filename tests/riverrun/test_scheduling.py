"""Refreshes by the clock, with commands that end at once in place of a training."""

import os
import signal
import sqlite3
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from feature_repo.shop_file import opening
from riverrun.cli import signals
from riverrun.cli.until_stopped import refreshes_of
from riverrun.drifting import DriftWatcher
from riverrun.scheduling import RefreshScheduler, run_politely
from riverrun.settings import Settings, load_settings
from trainer.refresh.runs_file import RunsFile

START = datetime(2026, 5, 1, 3, 15, tzinfo=UTC)
KILLED = "import os; os.kill(os.getpid(), 9)"


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def hourly(home: Path) -> Settings:
    return load_settings(home=home, refresh={"schedule": "30 * * * *"})


def scheduler(clock: Clock, home: Path, code: str, *arguments: str) -> RefreshScheduler:
    command = [sys.executable, "-c", code, *arguments]
    return RefreshScheduler(hourly(home), command=command, clock=clock)


def test_a_refresh_begins_at_its_time_and_once(tmp_path: Path) -> None:
    clock = Clock()
    refreshes = scheduler(clock, tmp_path, "raise SystemExit(3)")
    assert refreshes.run_if_due() is None
    clock.now = START + timedelta(minutes=15)
    assert refreshes.run_if_due() == 3
    assert refreshes.run_if_due() is None
    assert refreshes.due == START + timedelta(minutes=75)


def test_a_refresh_that_was_killed_is_an_error_in_the_log(tmp_path: Path) -> None:
    for code, level in (("raise SystemExit(3)", "info"), (KILLED, "error")):
        clock = Clock()
        refreshes = scheduler(clock, tmp_path, code)
        clock.now = START + timedelta(minutes=15)
        with capture_logs() as logs:
            refreshes.run_if_due()
        assert [each["log_level"] for each in logs if each["event"] == "refresh_ended"] == [level]


def test_times_that_were_missed_count_as_one(tmp_path: Path) -> None:
    clock = Clock()
    refreshes = scheduler(clock, tmp_path, "pass")
    clock.now = START + timedelta(hours=9)
    assert refreshes.run_if_due() == 0
    assert refreshes.run_if_due() is None


def test_a_clock_that_goes_back_repeats_nothing(tmp_path: Path) -> None:
    clock = Clock()
    refreshes = scheduler(clock, tmp_path, "pass")
    clock.now = START + timedelta(minutes=20)
    assert refreshes.run_if_due() == 0
    clock.now = START
    assert refreshes.run_if_due() is None
    clock.now = START + timedelta(minutes=20)
    assert refreshes.run_if_due() is None


def test_a_clock_that_was_far_ahead_stops_nothing(tmp_path: Path) -> None:
    """Neither in the scheduler that saw it, nor by the run that it wrote down, after a restart."""
    clock = Clock()
    clock.now = START + timedelta(days=400)
    RunsFile(hourly(tmp_path).bundles).begin("ahead", clock.now)
    seeing = scheduler(clock, tmp_path, "pass")
    clock.now = START
    assert seeing.run_if_due() is None
    restarted = scheduler(clock, tmp_path, "pass")
    for refreshes in (seeing, restarted):
        assert refreshes.due == START + timedelta(minutes=15)
    clock.now = START + timedelta(minutes=16)
    assert [each.run_if_due() for each in (seeing, restarted)] == [0, 0]


@pytest.mark.parametrize("back", [timedelta(minutes=1), timedelta(hours=5), timedelta(days=90)])
def test_wherever_a_clock_goes_back_to_no_two_times_are_left_out(
    tmp_path: Path, back: timedelta
) -> None:
    clock = Clock()
    refreshes = scheduler(clock, tmp_path, "pass")
    clock.now = START + timedelta(minutes=16) - back
    refreshes.run_if_due()
    assert refreshes.due <= clock.now + timedelta(hours=2)


def test_two_schedulers_begin_one_refresh(tmp_path: Path) -> None:
    """However far apart: also where the first has ended before the second looks."""
    clock = Clock()
    bundles = hourly(tmp_path).bundles
    code = (
        "import sys; from datetime import datetime; from pathlib import Path; "
        "from trainer.refresh.runs_file import RunsFile; "
        f"RunsFile(Path({str(bundles)!r})).begin(sys.argv[1], "
        f"datetime.fromisoformat({(START + timedelta(minutes=15)).isoformat()!r}))"
    )
    both = [scheduler(clock, tmp_path, code, name) for name in ("first", "second")]
    clock.now = START + timedelta(minutes=16)
    assert [each.run_if_due() for each in both] == [0, None]
    assert [run.run_id for run in RunsFile(bundles).all()] == ["first"]
    assert all(each.due == START + timedelta(minutes=75) for each in both)


def test_a_table_of_runs_that_is_locked_for_a_while_ends_no_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("riverrun.scheduling.LOOK_SECONDS", 0.01)
    clock, asked, ran = Clock(), list[datetime](), tmp_path / "ran"

    def begun_since(self: RunsFile, due: datetime, now: datetime) -> bool:
        asked.append(due)
        if len(asked) == 1:
            # As the table itself does it.
            with opening(tmp_path / "runs.sqlite", ""):
                raise sqlite3.OperationalError("database is locked")
        return False

    code = f"import pathlib; pathlib.Path({str(ran)!r}).touch()"
    monkeypatch.setattr(RunsFile, "begun_since", begun_since)
    refreshes = scheduler(clock, tmp_path, code)
    clock.now = START + timedelta(minutes=16)
    refreshes.start()
    deadline = time.monotonic() + 30
    while not ran.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    refreshes.stop()
    assert ran.exists()
    assert asked == [START + timedelta(minutes=15)] * 2


def test_a_refresh_in_progress_is_stopped_with_the_scheduler(tmp_path: Path) -> None:
    clock = Clock()
    started = tmp_path / "started"
    code = f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(600)"
    refreshes = scheduler(clock, tmp_path, code)
    clock.now = START + timedelta(hours=1)
    thread = threading.Thread(target=refreshes.run_if_due)
    thread.start()
    while not started.exists():
        time.sleep(0.01)
    refreshes.stop()
    thread.join(30)
    assert not thread.is_alive()


def test_a_refresh_that_does_not_end_is_killed_while_up_has_time_for_it(tmp_path: Path) -> None:
    started, stop = tmp_path / "started", threading.Event()
    code = (
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"pathlib.Path({str(started)!r}).touch(); time.sleep(600)"
    )
    ended: list[int] = []
    command = [sys.executable, "-c", code]
    thread = threading.Thread(target=lambda: ended.append(run_politely(command, stop)))
    thread.start()
    while not started.exists():
        time.sleep(0.01)
    stop.set()
    thread.join(signals.STOP_SECONDS / 2)
    assert ended == [-signal.SIGKILL]


def test_what_renews_the_model_is_ended_at_once_and_then_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for part in (RefreshScheduler, DriftWatcher):
        for what in ("start", "end", "stop"):
            monkeypatch.setattr(part, what, lambda _, what=what: done.append(what))
    with refreshes_of(load_settings(home=tmp_path, refresh={"schedule": "30 3 * * *"}), None):
        pass
    assert done == ["start", "start", "end", "end", "stop", "stop"]


@pytest.mark.parametrize(("own", "expected"), [(0, 10), (15, 15)])
def test_a_refresh_runs_at_no_higher_priority_than_its_scheduler(
    monkeypatch: pytest.MonkeyPatch, own: int, expected: int
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(os, "getpriority", lambda which, who: own)
    monkeypatch.setattr(os, "setpriority", lambda which, who, niceness: set_to.append(niceness))
    assert run_politely([sys.executable, "-c", "pass"], threading.Event()) == 0
    assert set_to == [expected]
