"""What Feast may do to a process."""

import feature_repo.import_feast  # noqa: F401, I001 - first

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typeguard
from feast import Field, FeatureView


@typeguard.typechecked
class Checked:
    def double(self, number: int) -> int:
        return 2 * number


def test_only_feast_is_left_unchecked() -> None:
    assert not any("memo" in each.__init__.__code__.co_varnames for each in (Field, FeatureView))
    with pytest.raises(typeguard.TypeCheckError):
        Checked().double("2")  # type: ignore[arg-type]


def test_counters_stay_in_the_process_that_counts_and_in_those_it_starts() -> None:
    child = "import prometheus_client.values as values; print(values.ValueClass.__name__)"
    script = (
        "import feature_repo.feast_online_features, subprocess, sys; "
        f"{child}; sys.stdout.flush(); "
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["MutexValue", "MutexValue"]
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ


def test_a_process_that_is_killed_leaves_no_folder_behind(tmp_path: Path) -> None:
    killed = "import feature_repo.feast_online_features, os; os.kill(os.getpid(), 9)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", killed], env=environment, timeout=120, check=False)
    assert done.returncode == -9
    assert list(tmp_path.iterdir()) == []
