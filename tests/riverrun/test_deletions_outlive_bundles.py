"""What was deleted is not shown again, though the bundle that serves is from before."""

from contextlib import closing
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from feature_repo.event_log import ITEMS, TopicPartition
from riverrun.embedded import embedded_shop
from riverrun.settings import load_settings
from streaming.sqlite_log import SqliteLog
from tests.support.tiny_bundle import build_tiny_bundle, tiny_items
from tests.support.waiting import wait_until

SHORT: dict[str, Any] = {
    "tombstone_days": 1e-9,
    "housekeeping_seconds": 0.05,
    "archive_seconds": 0.05,
}


def test_a_deleted_item_stays_away_however_long_no_model_is_trained(tmp_path: Path) -> None:
    # Not features in memory: a new store is told everything, deletions too.
    settings = load_settings(home=tmp_path, streaming=SHORT)
    build_tiny_bundle(settings.bundles)
    file = settings.embedded_log
    assert file is not None
    gone = tiny_items(3, 5)[0]
    with embedded_shop(settings) as shop, TestClient(shop.app) as client:
        # Twice: once something of the second is trimmed, the first has been looked at.
        for item_id in (gone.item_id, "none"):
            with closing(SqliteLog(file)) as log:
                before = start_of(log)
                deleted = client.delete(f"/v1/items/{item_id}", params={"wait": "applied"})
                deleted.raise_for_status()
                wait_until(lambda log=log, at=before: start_of(log) > at, seconds=60)  # type: ignore[misc]
    with embedded_shop(settings) as again, TestClient(again.app) as client:
        wait_until(lambda: client.get("/readyz").is_success, seconds=60)
        assert client.get(f"/v1/items/{gone.item_id}").status_code == 404


def start_of(log: SqliteLog) -> int:
    return log.starts([ITEMS])[TopicPartition(ITEMS, 0)]
