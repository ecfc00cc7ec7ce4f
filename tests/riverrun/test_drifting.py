"""Drift that begins a refresh, and drift that does not."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from riverrun.drifting import DRIFTED, DriftWatcher
from riverrun.settings import load_settings
from trainer.refresh.runs_file import RunsFile

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def ending(code: int) -> list[str]:
    return [sys.executable, "-c", f"raise SystemExit({code})"]


@pytest.mark.parametrize(
    ("refresh", "looked", "begun_hours_ago", "expected"),
    [
        (True, DRIFTED, None, 3),
        (True, DRIFTED, 30, 3),
        (True, DRIFTED, 10, None),  # One has begun, and what it made may have been refused.
        (False, DRIFTED, None, None),
        (True, 0, None, None),
        (True, 2, None, None),
    ],
)
def test_drift_begins_a_refresh_where_it_is_asked_for(
    tmp_path: Path, refresh: bool, looked: int, begun_hours_ago: int | None, expected: int | None
) -> None:
    drift = {"refresh": refresh, "pause_hours": 24, "check_hours": 1}
    settings = load_settings(home=tmp_path, refresh={"drift": drift})
    if begun_hours_ago is not None:
        RunsFile(settings.bundles).begin("before", NOW - timedelta(hours=begun_hours_ago))
    watcher = DriftWatcher(settings, look=ending(looked), renew=ending(3), clock=lambda: NOW)
    assert watcher.check() == expected
