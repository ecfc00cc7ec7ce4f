"""Versions are named by time, and a later one has the later name whatever the clock says."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.bundle import made_at, new_version
from serving.published_bundles import published_versions
from trainer.refresh.bundle_versions import next_version

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("later", "named"), [(3_600.5, 3_600), (1.0, 1), (0.5, 1), (0.0, 1), (-1.0, 1), (-3_600.0, 1)]
)
def test_a_version_is_of_its_moment_or_of_a_second_after_the_newest(
    tmp_path: Path, later: float, named: int
) -> None:
    for age in (0, 60):
        (tmp_path / new_version(NOW - timedelta(seconds=age))).mkdir()
    version = next_version(tmp_path, NOW + timedelta(seconds=later))
    assert made_at(version) == NOW + timedelta(seconds=named)
    (tmp_path / version).mkdir()
    assert published_versions(tmp_path)[-1] == version


def test_the_first_version_is_of_its_moment(tmp_path: Path) -> None:
    assert made_at(next_version(tmp_path, NOW + timedelta(seconds=0.5))) == NOW
