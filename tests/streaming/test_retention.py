"""What leaves the embedded log, and what has to stay."""

from contextlib import closing
from pathlib import Path

from feature_repo.event_log import ITEM_EMBEDDINGS, Message
from streaming.retention import housekeep
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog

DAY = 86_400.0


def test_a_deletion_stays_while_a_bundle_may_have_the_item(tmp_path: Path) -> None:
    settings = StreamingSettings(tombstone_days=90)
    with closing(SqliteLog(tmp_path / "log.sqlite", clock=lambda: 10 * DAY)) as log:
        log.append(ITEM_EMBEDDINGS, [Message("i1", None)])
        assert housekeep(log, settings, now=200 * DAY, oldest_bundle=9 * DAY) == 0
        assert housekeep(log, settings, now=99 * DAY, oldest_bundle=11 * DAY) == 0
        assert housekeep(log, settings, now=200 * DAY, oldest_bundle=11 * DAY) == 1
