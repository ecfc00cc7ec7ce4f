"""A reboot makes the worker tell the online store everything again."""

from pathlib import Path

import pytest

from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.schema import User
from streaming import sqlite_state
from streaming.sqlite_state import SqliteState
from streaming.stream_state import AGAIN, HISTORY
from streaming.updates import Updates


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
    assert rebooted.unpushed(AGAIN).updates.histories == {"u": history}
    rebooted.close()


def test_after_a_reboot_an_erased_history_is_deleted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The online store may have lost the deletion with the power, and hold the history still."""
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("first")
    monkeypatch.setattr(sqlite_state, "_BOOT_ID", boot_id)
    event = HistoryEvent(1, "e", "i", "view", 0.0)
    people = ("gone", "back", "renamed")
    full = {key: UserHistory(key, (event,)) for key in people}
    state = SqliteState(tmp_path / "checkpoint.sqlite")
    for version, updates in enumerate(
        [
            Updates(histories=full),
            Updates(
                histories={key: UserHistory(key) for key in people}, users=dict.fromkeys(people)
            ),
            # Whoever comes back with an event, or with a profile alone.
            Updates(histories={"back": full["back"]}),
            Updates(users={"renamed": User(user_id="renamed")}),
        ]
    ):
        state.commit(0, version, updates, {})
    state.forget_pushed(0, state.unpushed(0).stamps)
    assert state.count_unpushed() == 0
    state.close()

    boot_id.write_text("second")
    rebooted = SqliteState(tmp_path / "checkpoint.sqlite")
    again = rebooted.unpushed(AGAIN).updates
    assert again.histories == {
        "gone": UserHistory("gone"), "back": full["back"], "renamed": UserHistory("renamed"),
    }  # fmt: skip
    assert again.users == {"gone": None, "back": None, "renamed": User(user_id="renamed")}
    rebooted.close()
