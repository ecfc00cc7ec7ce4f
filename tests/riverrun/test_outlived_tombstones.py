"""A bundle that is older than a broker keeps deletions is told of."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from riverrun.server import outlived_tombstones
from riverrun.settings import load_settings


@pytest.mark.parametrize(
    ("log_url", "days", "told"),
    [("kafka://broker:9092", 8, True), ("kafka://broker:9092", 6, False), ("", 8, False)],
)
def test_where_brokers_may_have_dropped_deletions_it_is_said(
    tmp_path: Path, log_url: str, days: int, told: bool
) -> None:
    streaming: dict[str, Any] = {"tombstone_days": 7}
    settings = load_settings(home=tmp_path, log_url=log_url, streaming=streaming)
    made = datetime.now(UTC) - timedelta(days=days)
    holder = SimpleNamespace(current=SimpleNamespace(bundle_version=f"{made:%Y%m%dT%H%M%SZ}-0000"))
    parts: Any = SimpleNamespace(holder=holder)
    said = outlived_tombstones(settings, parts)()
    assert [each for each in said if "older than the 7 days" in each] == [*said]
    assert bool(said) == told
