"""What is imported last of an item is so, for the state and for servers, whatever was before."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.archive import Archive
from feature_repo.event_log import EVENTS, ITEM_EMBEDDINGS, ITEMS, Message
from feature_repo.log_records import encode_record
from feature_repo.online_features import ItemEmbedding
from feature_repo.schema import Event, Item, content_id
from serving.item_changelog import ItemUpsert, decode_change
from streaming.archiver import Archiver
from streaming.build_worker import build_worker
from streaming.imported_items import Served
from streaming.materialise import materialise
from streaming.rebuild import rebuild
from streaming.settings import FoldInSettings, StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.worker import Worker
from tests.support.stream import NOW, SPACE, HashEncoder, MemoryOnline, event, item

SETTINGS = StreamingSettings(
    linger_seconds=0, statistics_seconds=0, fold_in=FoldInSettings(prior=5.0)
)
Known = Mapping[str, Item]


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

    def import_(self, *items: Item) -> None:
        name = content_id(*(each.model_dump_json() for each in items))
        self.archive.import_items(f"import-{name}", items)

    def take_up(self, bundle: Known | None = None, state: SqliteState | None = None) -> None:
        """Do what a process does that starts and has `bundle`."""
        served = Served((bundle or {}).get, HashEncoder, lambda: SPACE)
        materialise(
            self.archive,
            state or self.state,
            self.online,
            self.log,
            settings=SETTINGS,
            served=served,
        )

    def work(self) -> None:
        """Let a worker read the log to its end."""
        worker = self.worker()
        worker.recover()
        while worker.step():
            pass
        worker._relay.push_lists()
        worker.stop()

    def worker(self) -> Worker:
        return build_worker(
            self.log,
            self.online,
            self.state,
            HashEncoder,
            settings=SETTINGS,
            space=lambda: SPACE,
            clock=lambda: NOW,
        )

    def archive_log(self) -> None:
        archiver = Archiver(self.log, self.archive, clock=lambda: NOW)
        while archiver.step():
            pass
        archiver.flush()
        archiver.stop()

    def changelog(self) -> dict[str, ItemUpsert | None]:
        """Return what a server reads that starts now, over its bundle's snapshot."""
        consumer = self.log.consumer(None, [ITEM_EMBEDDINGS])
        known: dict[str, ItemUpsert | None] = {}
        while records := consumer.poll(1_000, 0.0):
            for change in map(decode_change, records):
                known[change.item_id] = change if isinstance(change, ItemUpsert) else None
        consumer.close()
        return known

    def told(self) -> dict[str, Item | None]:
        """Return the items of the changelog."""
        return {key: each and each.item for key, each in self.changelog().items()}


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
    # A refresh has made a bundle of the archive meanwhile: the changelog goes over it.
    bundle = {each.item_id: each for each in shop.archive.items()}
    shop.take_up(bundle)
    expected = titled("sent", 3) | imported
    assert shop.state.items([*expected]) == expected
    assert {**bundle, **shop.told()} == expected
    assert "i4" not in shop.told()
    assert shop.online.get(Item, ["i1", "i2"]) == [imported["i1"], imported["i2"]]
    vectors = HashEncoder().encode_candidates([imported["i1"]], NOW)
    for found in (shop.changelog()["i1"], *shop.online.get(ItemEmbedding, ["i1"])):
        assert found is not None
        assert found.bundle_version == HashEncoder.bundle_version
    np.testing.assert_array_equal(shop.online.get(ItemEmbedding, ["i1"])[0].vector, vectors[0])
    assert shop.state.count_unpushed() == 0
    shop.work()
    assert {**bundle, **shop.told()} == expected


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
    expected = {"i1": item(1, "sent"), "i2": None, "i3": item(3, "imported")}
    assert shop.told() == shop.state.items([*expected]) == expected


def test_an_import_wins_over_what_only_the_archiver_has_read(shop: Shop) -> None:
    shop.send(*titled("sent", 1, 2).values(), "i2")
    shop.archive_log()
    imported = titled("imported", 1, 2)
    shop.import_(*imported.values())
    shop.take_up(imported)
    shop.work()
    assert shop.told() == shop.state.items([*imported]) == imported


def test_servers_are_told_of_what_their_bundle_has_not(shop: Shop) -> None:
    """All others they have: they are in the state, and neither embedded nor published."""
    bundle = titled("kettle", *range(1, 2_501))
    shop.import_(*bundle.values())
    shop.take_up(bundle)
    assert shop.state.items([*bundle]) == bundle
    assert shop.told() == {}
    assert shop.state.count_unpushed() == 0
    later = titled("copper kettle", 7) | titled("lamp", 3_000)
    shop.import_(*later.values())
    shop.take_up(bundle)
    assert shop.told() == later
    # What is so already is no news, in whatever segment it comes.
    end = shop.log.ends([ITEM_EMBEDDINGS])
    shop.import_(*titled("copper kettle", 7).values())
    shop.take_up(bundle)
    assert shop.log.ends([ITEM_EMBEDDINGS]) == end


def test_fold_in_moves_an_imported_item(shop: Shop) -> None:
    bundle = titled("kettle", 1, 2)
    shop.import_(*bundle.values())
    shop.take_up(bundle)
    shop.send(event(1, "u", "i2", 0), event(2, "u", "i1", 1))
    shop.work()
    changes = shop.changelog()
    assert set(changes) == {"i1"}  # the first event has no history to say where its user stands
    moved = changes["i1"]
    assert moved is not None
    assert moved.item == bundle["i1"]
    start = HashEncoder().encode_candidates([bundle["i1"]], NOW)[0]
    assert (moved.embedding != start).any()
    # An import that changes it keeps what was folded in.
    shop.import_(item(1, "kettle").model_copy(update={"price": 8.0}))
    shop.take_up(bundle)
    again = shop.changelog()["i1"]
    assert again is not None
    assert again.item.price == 8.0
    np.testing.assert_allclose(again.embedding, moved.embedding)


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
    bundle = titled("kettle", *range(1_500))
    sent = titled("sent", 3, 1_200)
    writes, interrupted = 0, True
    while interrupted:
        shop = new_shop()
        shop.send(*sent.values(), "i3")
        shop.work()
        shop.archive_log()
        shop.import_(*bundle.values())
        shop.import_(*titled("lamp", 5, 1_300).values())
        state, interrupted = Interrupted(shop.folder / "state.sqlite", writes), True
        with contextlib.suppress(KeyboardInterrupt):
            shop.take_up(bundle, state)
            interrupted = False
        state.close()
        shop.take_up(bundle)
        expected = bundle | titled("lamp", 5, 1_300)
        assert shop.state.items([*expected]) == expected
        assert {**bundle, **shop.told()} == expected
        assert shop.state.count_unpushed() == 0
        writes += 1
    assert writes > 6


def test_a_rebuilt_state_has_taken_them_up(shop: Shop) -> None:
    imported = titled("imported", 1, 2)
    shop.import_(*imported.values())
    shop.take_up()
    shop.send("i2")
    shop.work()
    shop.archive_log()
    rebuild(shop.archive, shop.state, shop.online, shop.log, settings=SETTINGS)
    end = shop.log.ends([ITEM_EMBEDDINGS])
    shop.take_up()
    assert shop.log.ends([ITEM_EMBEDDINGS]) == end
    assert shop.state.items([*imported]) == {"i1": imported["i1"], "i2": None}


def test_after_a_reboot_servers_are_not_told_again_of_what_their_bundle_has(shop: Shop) -> None:
    bundle = titled("kettle", 1, 2)
    shop.import_(*bundle.values())
    shop.take_up(bundle)
    shop.send(item(2, "sent"))
    shop.work()
    shop.state._push_again_after_reboot("another")
    shop.take_up(bundle)
    shop.work()
    assert shop.told() == titled("sent", 2)
