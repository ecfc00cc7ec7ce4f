"""`riverrun dead-letters` on an embedded log."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_repo.event_log import DEAD_LETTERS, EVENTS, ITEMS, USERS, Message
from feature_repo.log_records import encode_record
from riverrun.cli.console import out
from riverrun.cli.main import app
from riverrun.errors import UserError
from riverrun.opening import open_state
from riverrun.settings import Settings
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.worker import Worker
from tests.support.stream import FakeModel, MemoryOnline, event, item

REFUSING = StreamingSettings(linger_seconds=0, event_types=("view",))


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["dead-letters", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return " ".join(result.output.split())


@pytest.fixture(autouse=True)
def _on_a_wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "width", 200)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.sqlite")
    yield log
    log.close()


def refuse(log: SqliteLog, home: Path, *people: str) -> None:
    """Let a worker refuse an event of each."""
    for number, person in enumerate(people):
        dance = event(number, person, kind="dance").model_dump_json().encode()
        log.append(EVENTS, [Message(person, dance)])
    with closing(open_state(Settings(home=home))) as state:
        worker = Worker(log, MemoryOnline(), state, FakeModel(), settings=REFUSING)
        worker.recover()
        while worker.step():
            pass
        worker.stop()


def test_a_shop_without_letters_says_so(tmp_path: Path) -> None:
    assert "0 dead letters" in run("list", "--home", str(tmp_path))
    assert run("replay", "--home", str(tmp_path)) == "0 records were put back"


def test_the_newest_letters_are_shown_and_all_are_counted(log: SqliteLog, tmp_path: Path) -> None:
    refuse(log, tmp_path, "ann", "bob", "cyd")
    shown = run("list", "--limit", "2", "--home", str(tmp_path))
    assert "3 dead letters" in shown
    assert [name in shown for name in ("'ann'", "'bob'", "'cyd'")] == [False, True, True]


def test_who_was_erased_is_neither_shown_nor_put_back(log: SqliteLog, tmp_path: Path) -> None:
    refuse(log, tmp_path, "mallory", "alice")
    before = run("list", "--home", str(tmp_path))
    assert before.count("Received: dance.") == 2
    assert "mallory" in before
    log.append(USERS, [Message("mallory", None)])
    after = run("list", "--home", str(tmp_path))
    assert "mallory" not in after
    assert "│ events/0@1 │ │ the user was erased since: it is not put back │ │" in after
    assert "'alice'" in after
    assert run("replay", "--home", str(tmp_path)) == (
        "1 records were put back 1 left out: their users were erased since"
    )
    assert "0 records" in run("replay", "--home", str(tmp_path))


def test_an_item_that_has_a_later_record_is_not_put_back(log: SqliteLog, tmp_path: Path) -> None:
    log.append(ITEMS, [Message("i1", b"[]"), Message("i1", encode_record(item(1)))])
    refuse(log, tmp_path)
    assert run("replay", "--home", str(tmp_path)) == (
        "0 records were put back 1 left out: a later record of their item or user was taken since"
    )
    log.append(ITEMS, [Message("i1", b"[]")])
    refuse(log, tmp_path)
    log.append(ITEMS, [Message("i2", b"[]")])
    log.trim(ITEMS, ["worker"])
    assert run("replay", "--home", str(tmp_path)) == (
        "0 records were put back 1 left out: so old that a later record of their item or user may "
        "be forgotten"
    )


def test_a_record_that_is_no_letter_is_named_and_passed_over(
    log: SqliteLog, tmp_path: Path
) -> None:
    log.append(DEAD_LETTERS, [Message("theirs", b"[bold]hello"), Message(None, None)])
    refuse(log, tmp_path, "alice")
    listed = run("list", "--home", str(tmp_path))
    assert "passed over: record events.dead-letter/0@1 is no dead letter: Expecting" in listed
    assert "passed over: record events.dead-letter/0@2 is no dead letter" in listed
    assert "1 dead letters" in listed
    replayed = run("replay", "--home", str(tmp_path))
    assert "passed over: record events.dead-letter/0@1 is no dead letter" in replayed
    assert "1 records were put back" in replayed


def test_a_lost_state_says_what_to_do(log: SqliteLog, tmp_path: Path) -> None:
    refuse(log, tmp_path, "alice")
    for file in tmp_path.glob("checkpoint.sqlite*"):
        file.unlink()
    with pytest.raises(UserError, match="nobody knows who was erased: `riverrun rebuild`"):
        run("replay", "--home", str(tmp_path))
    assert [each.key for each in log.consumer(None, [EVENTS]).poll(10, 0.0)] == ["alice"]
