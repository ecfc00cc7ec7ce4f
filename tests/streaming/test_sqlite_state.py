"""A reboot makes the worker tell the online store everything again."""

from pathlib import Path

import pytest

from feature_repo.history import HistoryEvent, UserHistory
from streaming import sqlite_state
from streaming.processor import Updates
from streaming.sqlite_state import SqliteState
from streaming.stream_state import HISTORY


def test_after_a_reboot_every_history_is_pushed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("first")
    monkeypatch.setattr(sqlite_state, "_BOOT_ID", boot_id)
    history = UserHistory("u", (HistoryEvent(1, "e", "i", "view", 0.0),))
    state = SqliteState(tmp_path / "checkpoint.sqlite")
    stamp = state.commit(0, 0, Updates(histories={"u": history}), {})
    state.forget_pushed(0, {(HISTORY, "u"): stamp})
    state.close()

    restarted = SqliteState(tmp_path / "checkpoint.sqlite")
    assert restarted.count_unpushed() == 0
    restarted.close()

    boot_id.write_text("second")
    rebooted = SqliteState(tmp_path / "checkpoint.sqlite")
    assert rebooted.unpushed(0).updates.histories == {"u": history}
    rebooted.close()
