"""What is imported last of an item is so for servers, whatever was sent before.

All that was never sent they have from their bundle: the stream is not told of it.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_repo.archive import Archive
from feature_repo.event_log import EVENTS, ITEM_EMBEDDINGS, ITEMS, Message
from feature_repo.log_records import encode_record
from feature_repo.online_features import ItemEmbedding
from feature_repo.schema import Event, Item, content_id
from serving.item_changelog import (
    ItemChange,
    ItemDeletion,
    ItemMove,
    ItemUpsert,
    decode_change,
)
from streaming.archive_changes import archive_changes
from streaming.latest_items import latest_items
from streaming.materialise import materialise
from streaming.rebuild import rebuild
from streaming.settings import FoldInSettings, StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.worker import Worker
from tests.support.archived import archive_log
from tests.support.read_through import unwaiting
from tests.support.stream import NOW, SPACE, FakeModel, HashEncoder, MemoryOnline, event, item

SETTINGS = StreamingSettings(
    linger_seconds=0, statistics_seconds=0, fold_in=FoldInSettings(prior=5.0)
)


class Shop:
    """An embedded log, the state and the archive that its processes leave behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = SqliteLog(folder / "log.sqlite")
        self.archive = Archive(folder / "archive")
        self.online = MemoryOnline()
        self.state = SqliteState(folder / "state.sqlite")

    def close(self) -> None:
        self.state.close()
        self.log.close()

    def send(self, *changes: Item | Event | str) -> None:
        """Append items, events, and ids of items that are deleted."""
        for each in changes:
            if isinstance(each, Event):
                self.log.append(EVENTS, [Message(each.user_id, encode_record(each))])
            else:
                key, value = (
                    (each, None) if isinstance(each, str) else (each.item_id, encode_record(each))
                )
                self.log.append(ITEMS, [Message(key, value)])

    def import_(self, *items: Item, deleted: Sequence[str] = ()) -> None:
        name = content_id(*(each.model_dump_json() for each in items), *deleted)
        self.archive.import_items(f"import-{name}", items, deleted)

    def take_up(self, state: SqliteState | None = None) -> None:
        materialise(self.archive, state or self.state, self.online, self.log, settings=SETTINGS)

    def work(self) -> None:
        """Let a worker read the log to its end, whose bundle was made of the archive."""
        bundle = {each.item_id: each for each in self.archive.items()}
        worker = Worker(
            unwaiting(self.log),
            self.online,
            self.state,
            FakeModel(space=SPACE, items=bundle),
            settings=SETTINGS,
            clock=lambda: NOW,
        )
        worker.recover()
        while worker.step():
            pass
        worker._relay.push_lists()
        worker.stop()

    def archive_log(self) -> None:
        archive_log(self.log, self.archive)

    def changelog(self) -> dict[str, ItemChange]:
        """Return the last change of each item, as compaction leaves it."""
        consumer = self.log.consumer(None, [ITEM_EMBEDDINGS])
        known: dict[str, ItemChange] = {}
        while records := consumer.poll(1_000, 0.0):
            known |= {change.item_id: change for change in map(decode_change, records)}
        consumer.close()
        return known

    def told(self) -> dict[str, Item | None]:
        """Return the items of the changelog, None where one was deleted."""
        changes = self.changelog().values()
        upserts = {each.item_id: each.item for each in changes if isinstance(each, ItemUpsert)}
        gone = [each.item_id for each in changes if isinstance(each, ItemDeletion)]
        return {**upserts, **dict.fromkeys(gone)}


@pytest.fixture
def new_shop(tmp_path: Path) -> Iterator[Callable[[], Shop]]:
    made: list[Shop] = []

    def make() -> Shop:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Shop(folder))
        return made[-1]

    yield make
    for shop in made:
        shop.close()


@pytest.fixture
def shop(new_shop: Callable[[], Shop]) -> Shop:
    return new_shop()


def titled(title: str, *numbers: int) -> dict[str, Item]:
    return {f"i{number}": item(number, title) for number in numbers}


def test_an_import_wins_over_what_was_sent_before(shop: Shop) -> None:
    shop.send(*titled("sent", 1, 2, 3).values(), "i2")
    shop.work()
    shop.archive_log()
    imported = titled("imported", 1, 2, 4)
    shop.import_(*imported.values())
    shop.take_up()
    shop.work()
    expected = titled("sent", 3) | titled("imported", 1, 2)
    assert shop.told() == shop.state.items([*imported, "i3"]) == expected
    assert shop.online.get(Item, ["i1", "i2"]) == [imported["i1"], imported["i2"]]
    # What is so already is no news.
    end = shop.log.ends([ITEMS])
    shop.import_(*titled("imported", 1).values())
    shop.take_up()
    assert shop.log.ends([ITEMS]) == end


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("worked", [False, True])
def test_what_is_sent_after_an_import_stays(shop: Shop, archived: bool, worked: bool) -> None:
    shop.import_(*titled("imported", 1, 2, 3).values())
    shop.send(item(1, "sent"), "i2")
    if worked:
        shop.work()
    if archived:
        shop.archive_log()
    shop.take_up()
    shop.work()
    expected = {"i1": item(1, "sent"), "i2": None}
    assert shop.told() == shop.state.items([*expected, "i3"]) == expected


def test_an_import_wins_over_what_only_the_archiver_has_read(shop: Shop) -> None:
    shop.send(*titled("sent", 1, 2).values(), "i2")
    shop.archive_log()
    imported = titled("imported", 1, 2)
    shop.import_(*imported.values())
    shop.take_up()
    shop.work()
    assert shop.told() == shop.state.items([*imported]) == imported


def test_the_last_of_several_imports_wins(shop: Shop) -> None:
    shop.send(*titled("sent", 1, 2, 3).values())
    shop.work()
    shop.archive_log()
    shop.import_(*titled("first", 1, 2).values())
    shop.import_(*titled("second", 2, 3).values())
    shop.take_up()
    shop.work()
    assert shop.told() == titled("first", 1) | titled("second", 2, 3)


def test_what_an_import_deletes_is_deleted_for_servers_too(shop: Shop) -> None:
    """Also what was never sent, since it may be in their bundle."""
    shop.send(*titled("sent", 1, 2).values(), "i2")
    shop.work()
    shop.archive_log()
    shop.import_(item(3), deleted=["i1", "i2", "i4"])
    shop.send(item(4, "sent after"))
    shop.take_up()
    shop.work()
    assert shop.told() == {"i1": None, "i2": None, "i4": item(4, "sent after")}
    assert shop.state.items(["i1", "i2", "i3"]) == {"i1": None, "i2": None}
    end = shop.log.ends([ITEMS])
    shop.import_(deleted=["i1", "i2"])
    shop.take_up()
    assert shop.log.ends([ITEMS]) == end


STEPS = ("send", "delete", "import", "import a deletion", "work", "archive", "take up")


@settings(max_examples=8)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=6))
@example(steps=("send", "work", "import"))
@example(steps=("import", "delete", "import"))
@example(steps=("import", "import a deletion"))
def test_what_is_said_last_of_an_item_is_so(steps: Sequence[str]) -> None:
    """Sent or imported, whatever of it worker and archiver had read by then."""
    with TemporaryDirectory() as folder, closing(Shop(Path(folder))) as shop:
        said: Item | None = None
        for number, step in enumerate(steps):
            if step == "send":
                said = item(1, f"sent {number % 2}")
                shop.send(said)
            elif step == "delete":
                said = None
                shop.send("i1")
            elif step == "import":
                said = item(1, f"imported {number % 2}")
                archive_changes(shop.log, shop.archive, SETTINGS)
                shop.import_(said)
            elif step == "import a deletion":
                said = None
                archive_changes(shop.log, shop.archive, SETTINGS)
                shop.import_(deleted=["i1"])
            elif step == "work":
                shop.work()
            elif step == "archive":
                shop.archive_log()
            else:
                shop.take_up()
        items = [] if said is None else [said]
        assert latest_items(shop.archive, shop.log, SETTINGS) == items
        shop.take_up()
        shop.work()
        # What was only ever imported, servers have from their bundle.
        state = shop.state.items(["i1"])
        assert state == {"i1": said} or (not state and "send" not in steps)
        shop.archive_log()
        assert shop.archive.items() == items


def test_fold_in_moves_what_was_never_sent_and_leaves_it_to_the_bundle_what_it_is(
    shop: Shop,
) -> None:
    shop.import_(*titled("kettle", 1, 2).values())
    shop.take_up()
    shop.send(event(1, "u", "i2", 0), event(2, "u", "i1", 1))
    shop.work()
    # The first event has no history to say where its user stands.
    (moved,) = shop.changelog().values()
    assert isinstance(moved, ItemMove)
    assert moved.item_id == "i1"
    start = HashEncoder().encode_candidates([item(1, "kettle")], NOW)[0]
    assert (moved.embedding != start).any()
    np.testing.assert_array_equal(shop.online.get(ItemEmbedding, ["i1"])[0].vector, moved.embedding)
    # Once it is sent, its record says what it is, and keeps what was folded in.
    shop.send(item(1, "kettle"))
    shop.work()
    sent = shop.changelog()["i1"]
    assert isinstance(sent, ItemUpsert)
    assert sent.item == item(1, "kettle")
    np.testing.assert_allclose(sent.embedding, moved.embedding)
    shop.send("i1")
    shop.work()
    shop.send(event(3, "u", "i1", 2))
    shop.work()
    assert shop.told() == {"i1": None}


class Interrupted(SqliteState):
    """Is interrupted before one of its numbered writes."""

    def __init__(self, path: Path, writes: int) -> None:
        super().__init__(path)
        self._left = writes

    def commit(self, *args: Any, **kwargs: Any) -> str:
        self._count()
        return super().commit(*args, **kwargs)

    def forget_pushed(self, *args: Any, **kwargs: Any) -> None:
        self._count()
        super().forget_pushed(*args, **kwargs)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt


def test_interrupted_and_repeated_it_ends_in_the_same_state(new_shop: Callable[[], Shop]) -> None:
    writes, interrupted = 0, True
    while interrupted:
        shop = new_shop()
        shop.send(*titled("sent", 3, 1_200).values(), "i3")
        shop.work()
        shop.archive_log()
        shop.import_(*titled("kettle", *range(1_500)).values())
        state, interrupted = Interrupted(shop.folder / "state.sqlite", writes), True
        with contextlib.suppress(KeyboardInterrupt):
            shop.take_up(state)
            interrupted = False
        state.close()
        shop.take_up()
        shop.work()
        expected = titled("kettle", 3, 1_200)
        assert shop.told() == shop.state.items([f"i{n}" for n in range(1_500)]) == expected
        assert shop.state.count_unpushed() == 0
        writes += 1
    assert writes > 1


def test_a_rebuilt_state_has_taken_them_up(shop: Shop) -> None:
    imported = titled("imported", 1, 2)
    shop.import_(*imported.values())
    shop.take_up()
    shop.send("i2")
    shop.work()
    shop.archive_log()
    rebuild(shop.archive, shop.state, shop.online, shop.log, settings=SETTINGS)
    end = shop.log.ends([ITEMS])
    shop.take_up()
    assert shop.log.ends([ITEMS]) == end
    assert shop.state.items([*imported]) == {"i1": imported["i1"], "i2": None}
