"""Drift that begins a refresh, and drift that does not."""

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from feature_repo.archive import Archive
from feature_repo.schema import Event
from riverrun.cli.main import app
from riverrun.drifting import DRIFTED, DriftWatcher
from riverrun.settings import load_settings
from serving.bundle import MANIFEST, DataWindow, read_manifest
from tests.support.tiny_bundle import build_tiny_bundle
from trainer.refresh.runs_file import RunsFile

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def ending(code: int) -> list[str]:
    return [sys.executable, "-c", f"raise SystemExit({code})"]


@pytest.mark.parametrize(
    ("refresh", "looked", "begun_hours_ago", "expected", "said"),
    [
        (True, DRIFTED, None, 3, "begins"),
        (True, DRIFTED, 30, 3, "begins"),
        # One has begun, and what it made may have been refused.
        (True, DRIFTED, 10, None, "paused"),
        (False, DRIFTED, None, None, "off"),
        (True, 0, None, None, None),
        (True, 2, None, None, None),
    ],
)
def test_drift_begins_a_refresh_where_it_is_asked_for(
    tmp_path: Path,
    refresh: bool,
    looked: int,
    begun_hours_ago: int | None,
    expected: int | None,
    said: str | None,
) -> None:
    drift = {"refresh": refresh, "pause_hours": 24, "check_hours": 1}
    settings = load_settings(home=tmp_path, refresh={"drift": drift})
    if begun_hours_ago is not None:
        RunsFile(settings.bundles).begin("before", NOW - timedelta(hours=begun_hours_ago))
    watcher = DriftWatcher(settings, look=ending(looked), renew=ending(3), clock=lambda: NOW)
    RunsFile(settings.bundles).write_drift("bundle", {"event_types": 2.5}, NOW)
    with capture_logs() as logs:
        assert watcher.check() == expected
    drifted = [each for each in logs if each["event"] == "drifted"]
    assert [each["refresh"] for each in drifted] == ([] if said is None else [said])
    assert all(each["signals"] == {"event_types": 2.5} for each in drifted)
    ended = [each["code"] for each in logs if each["event"] == "refresh_ended"]
    assert ended == ([] if expected is None else [expected])


@pytest.mark.parametrize("code", [DRIFTED, 2])
def test_a_look_that_is_stopped_says_nothing(tmp_path: Path, code: int) -> None:
    settings = load_settings(home=tmp_path, refresh={"drift": {"check_hours": 1}})
    watcher = DriftWatcher(settings, look=ending(code), renew=ending(3), clock=lambda: NOW)
    watcher.end()
    with capture_logs() as logs:
        assert watcher.check() is None
    assert logs == []


def test_drift_that_lasts_is_warned_of_once(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, refresh={"drift": {"check_hours": 1}})
    runs = RunsFile(settings.bundles)
    watcher = DriftWatcher(settings, look=ending(DRIFTED), clock=lambda: NOW)

    def level(**signals: float) -> str:
        runs.write_drift("bundle", signals, NOW)
        with capture_logs() as logs:
            watcher.check()
        (level,) = [each["log_level"] for each in logs if each["event"] == "drifted"]
        return str(level)

    assert level(event_types=2.5, categories=0.1) == "warning"
    assert level(event_types=2.6, categories=0.2) == "info"
    assert level(event_types=2.6, categories=0.3) == "warning"
    runs.add_promotion("another", NOW, "published")
    assert level(event_types=2.6, categories=0.3) == "warning"
    assert level(event_types=2.6, categories=0.3) == "info"
    # What was not measured has not ended.
    for code, expected in ((2, "info"), (0, "warning")):
        watcher._look = ending(code)
        watcher.check()
        watcher._look = ending(DRIFTED)
        assert level(event_types=2.6, categories=0.3) == expected


@pytest.mark.parametrize(
    ("drift", "said"),
    [
        ("min_events = 61", "60 events since .*: fewer than refresh.drift.min_events = 61"),
        ("min_events = 60\nthresholds = {}", "60 events since .*thresholds names no signal"),
    ],
)
def test_why_nothing_is_measured_is_said(tmp_path: Path, drift: str, said: str) -> None:
    home = tmp_path / "home"
    bundle = build_tiny_bundle(home / "bundles")
    manifest = read_manifest(bundle)
    window = DataWindow(start=NOW - timedelta(days=9), end=NOW, events=9)
    (bundle / MANIFEST).write_text(
        manifest.model_copy(update={"data_window": window}).model_dump_json()
    )
    later = [
        Event(
            event_id=f"e{number}",
            user_id="u",
            item_id="i1",
            event_type="view",
            timestamp=NOW + timedelta(seconds=1 + number),
        )
        for number in range(60)
    ]
    Archive(home / "archive").events.write("later", later)
    (home / "riverrun.toml").write_text(f"[refresh.drift]\n{drift}\n")
    command = ["drift", "--home", str(home), "--settings", str(home / "riverrun.toml")]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert re.search(said, " ".join(done.output.split()))
