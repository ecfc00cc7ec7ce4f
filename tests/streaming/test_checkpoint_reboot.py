"""A reboot makes the worker tell the online store everything again."""

from pathlib import Path

import pytest

from feature_repo.history import HistoryEvent, UserHistory
from streaming import checkpoint
from streaming.checkpoint import Checkpoint
from streaming.processor import Updates


def test_after_a_reboot_every_history_is_pushed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("first")
    monkeypatch.setattr(checkpoint, "_BOOT_ID", boot_id)
    history = UserHistory("u", (HistoryEvent(1, "e", "i", "view", 0.0),))
    state = Checkpoint(tmp_path / "checkpoint.sqlite")
    state.commit(Updates(histories={"u": history}))
    state.forget_pushed(Updates(histories={"u": history}))
    state.close()

    restarted = Checkpoint(tmp_path / "checkpoint.sqlite")
    assert restarted.count_unpushed() == 0
    restarted.close()

    boot_id.write_text("second")
    rebooted = Checkpoint(tmp_path / "checkpoint.sqlite")
    assert rebooted.unpushed().histories == {"u": history}
    rebooted.close()
