"""What `riverrun import` does where the log has brought something already."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from feature_repo.archive import Archive
from feature_repo.event_log import EVENTS, ITEMS, USERS, Message
from feature_repo.log_records import encode_record
from feature_repo.schema import Event, Item
from riverrun.cli import import_
from streaming.sqlite_log import SqliteLog
from tests.riverrun.run_import import GOOD, HEAD
from tests.support.archived import archive_log
from tests.support.stream import event, item

app = typer.Typer()
app.add_typer(import_.app, name="import")


class Home:
    """A shop's home with a log that has taken something."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.archive = Archive(folder / "archive")
        self.log = SqliteLog(folder / "log.sqlite")

    def append(self, topic: str, *records: Event | Item) -> None:
        keys = [each.user_id if isinstance(each, Event) else each.item_id for each in records]
        values = map(encode_record, records)
        self.log.append(topic, [Message(*each) for each in zip(keys, values, strict=True)])

    def archive_log(self) -> None:
        archive_log(self.log, self.archive)

    def import_(self, kind: str, text: str) -> str:
        """Import a CSV file; return what the command printed."""
        file = self.folder / f"{kind}.csv"
        file.write_text(text)
        arguments = ["import", kind, str(file), "--home", str(self.folder)]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.exception
        return result.output


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    with closing(home.log):
        yield home


@pytest.mark.parametrize("ids_given", [False, True])
def test_events_of_a_day_that_has_posted_and_imported_ones(home: Home, ids_given: bool) -> None:
    """The first file of the day is then one without moments: `import-` is before `log-`."""
    day = event(0).timestamp.date()
    columns = f"event_id,{HEAD}" if ids_given else HEAD

    def row(event_id: str, kind: str) -> str:
        text = GOOD.replace("2026-01-01", day.isoformat()).replace("view", kind)
        return f"{event_id},{text}" if ids_given else text

    home.import_("events", f"{columns}\n{row('a', 'view')}\n")
    home.append(EVENTS, event(0, kind="click"))
    home.archive_log()
    home.import_("events", f"{columns}\n{row('a', 'view')}\n{row('b', 'cart')}\n")
    events = home.archive.events.scan().collect()
    assert sorted(events["event_type"]) == ["cart", "click", "view"]
    assert sorted(home.archive.events.keys_of(day)["event_id"]) == sorted(events["event_id"])
    if ids_given:
        user_id = GOOD.split(",")[0]
        posted = row("e0", "view").replace(f",{user_id},", f",{event(0).user_id},")
        home.import_("events", f"{columns}\n{posted}\n")
        assert home.archive.events.scan().collect().height == 3


def test_an_import_replaces_what_was_posted_before_it(home: Home) -> None:
    """Though the archiver had not written it yet."""
    home.append(ITEMS, item(1, "posted"), item(2, "posted"))
    home.import_("items", "item_id,title\ni1,imported\n")
    home.append(ITEMS, item(3, "posted"))
    home.archive_log()
    titles = {each.item_id: each.title for each in home.archive.items()}
    assert titles == {"i1": "imported", "i2": "posted", "i3": "posted"}


def test_an_import_does_not_make_a_log(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text("item_id\ni1\n")
    home = tmp_path / "home"
    arguments = ["import", "items", str(file), "--home", str(home)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert not list(home.glob("*.sqlite*"))


def test_an_item_that_a_file_deletes_is_gone(home: Home) -> None:
    home.append(ITEMS, item(1), item(2), item(3))
    head = "item_id,title,deleted\n"
    printed = home.import_("items", head + "i1,pot,yes\ni2,pot,0\ni3,pot,\ni4,pot,gone\ni5,,TRUE\n")
    assert [each.item_id for each in home.archive.items()] == ["i2", "i3", "i4"]
    assert home.archive.deleted_items() == ["i1", "i5"]
    assert all(each.model_extra == {} for each in home.archive.items())
    assert "2 rows delete their item" in printed
    assert "deleted cannot be read: the item stays" in printed
    home.import_("items", "item_id,title,published_at\ni1,pot,2026-01-01\n")
    assert [each.item_id for each in home.archive.items()] == ["i1", "i2", "i3", "i4"]


def test_what_an_import_leaves_out_of_known_items_is_told(home: Home) -> None:
    home.append(ITEMS, item(1).model_copy(update={"categories": ("Tea",)}), item(2))
    notes = ("had a title before", "had categories before")
    whole = "item_id,title,categories\ni1,pot,Tea\ni2,,\n"
    found = home.import_("items", whole)
    assert "1 of the items had a title before and have none now" in found
    assert [note in found for note in notes] == [True, False]
    found = home.import_("items", whole)
    assert not any(note in found for note in notes)
    found = home.import_("items", "item_id,price\ni1,2\ni2,2\ni3,2\n")
    assert all(f"1 of the items {note} and have none now" in found for note in notes)
    found = home.import_("items", "item_id,price\ni1,3\ni2,2\ni3,2\n")
    assert not any(note in found for note in notes)


def test_old_files_bring_no_erased_user_back(home: Home) -> None:
    old = f"{HEAD}\n{GOOD}\n{GOOD.replace('u,', 'v,')}\n"
    home.import_("events", old)
    home.import_("users", "user_id\nu\nv\n")
    home.log.append(USERS, [Message("u", None)])
    for _ in range(2):
        assert "the user was erased" in home.import_("events", old)
        assert "the user was erased" in home.import_("users", "user_id\nu\nv\n")
        assert home.archive.events.scan().collect()["user_id"].to_list() == ["v"]
        assert [each.user_id for each in home.archive.users()] == ["v"]
    # What the user does after the erasure counts.
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert "the user was erased" not in home.import_("events", f"{HEAD}\nu,i,view,{soon}\n")
    assert sorted(home.archive.events.scan().collect()["user_id"]) == ["u", "v"]
    home.archive_log()
    assert sorted(home.archive.events.scan().collect()["user_id"]) == ["u", "v"]
