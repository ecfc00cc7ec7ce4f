"""Whoever starts beside a worker and finds something imported, takes nothing from it.

The law: whenever imports are taken up, the end is that of all of them being there before anything
happened.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from feature_repo.archive import Archive
from feature_repo.event_log import EVENTS, ITEM_EMBEDDINGS, ITEMS, USERS, Message
from feature_repo.history import UserHistory
from feature_repo.log_records import encode_record
from feature_repo.schema import Event, Item, User
from serving.item_changelog import ItemUpsert, decode_change
from streaming.dead_letters import dead_letters
from streaming.materialise import materialise
from streaming.open_stream_state import open_stream_state
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.stream_state import OpenState
from streaming.worker import Worker
from tests.support.interleaved_log import InterleavedLog
from tests.support.redis_server import database
from tests.support.stream import NOW, FakeModel, MemoryOnline, event, item, user

SCHEMES = ["sqlite", pytest.param("redis", marks=pytest.mark.redis)]
MAX_HISTORY = 30
MADE = [event(n, f"u{n % 2}", f"i{n // 2 % 2}", 10 * n, ("view", "cart")[n % 2]) for n in range(12)]
FIRST, LIVE, SECOND = MADE[0::3] + MADE[1:6:3], MADE[7::3], MADE[2::3]


class Shop:
    """A log that others may follow too, and what outlives the workers on it."""

    def __init__(self, folder: Path, state_url: str) -> None:
        self.sqlite = SqliteLog(folder / "log.sqlite")
        self.log = InterleavedLog(self.sqlite, itertools.cycle([EVENTS, USERS, ITEMS]))
        self.archive = Archive(folder / "archive")
        self.online = MemoryOnline()
        self.state_url = state_url
        with closing(self.open_state()) as state:
            state.reset()

    def open_state(self) -> OpenState:
        return open_stream_state(self.state_url)

    def import_(self, name: str, events: list[Event], *records: User | Item) -> None:
        self.archive.write_users(name, [each for each in records if isinstance(each, User)])
        self.archive.write_items(name, [each for each in records if isinstance(each, Item)])
        self.archive.events.write(name, events)

    def send(self, events: list[Event], *records: User | Item) -> None:
        for made in events:
            self.log.append(EVENTS, [Message(made.user_id, encode_record(made))])
        for each in records:
            topic, key = (USERS, each.user_id) if isinstance(each, User) else (ITEMS, each.item_id)
            self.log.append(topic, [Message(key, encode_record(each))])

    def take_up(self, state: OpenState) -> int:
        return materialise(self.archive, state, self.online, self.log, max_history=MAX_HISTORY)

    def start(self, state: OpenState) -> Worker:
        """Take up imports and return a worker, as every process does that starts."""
        self.take_up(state)
        return self.worker(state)

    def worker(self, state: OpenState) -> Worker:
        settings = StreamingSettings(batch_records=2, linger_seconds=0, statistics_seconds=0)
        worker = Worker(
            self.log, self.online, state, FakeModel(),
            settings=settings, max_history=MAX_HISTORY, clock=lambda: NOW,
        )  # fmt: skip
        worker.recover()
        return worker

    def contents(self, state: OpenState) -> Any:
        histories = {each.user_id: each for some in state.all_histories() for each in some}
        counts = {each.item_id: each for some in state.all_statistics() for each in some}
        known = [f"u{number}" for number in range(4)]
        assert self.online.get(UserHistory, known) == [histories.get(each) for each in known]
        assert list(dead_letters(self.log)) == []
        assert state.count_unpushed() == 0
        passed = state.milestones()
        assert passed.event_segments == passed.item_segments == {"import-1", "import-2"}
        known_items = [f"i{number}" for number in range(5)]
        items = state.items(known_items)
        assert self.online.get(Item, known_items) == [items.get(each) for each in known_items]
        return (
            items,
            self.changelog(),
            {key: each.events for key, each in histories.items()},
            {key: (each.timestamp, each.event_types) for key, each in counts.items()},
            {key: tuple(round(each, 9) for each in every.week) for key, every in counts.items()},
        )

    def changelog(self) -> dict[str, Any]:
        """Return what a server that reads it to its end knows."""
        with closing(self.log.consumer(None, [ITEM_EMBEDDINGS])) as consumer:
            changes = [decode_change(each) for each in iter_records(consumer)]
        known: dict[str, Any] = {each.item_id: None for each in changes}
        for change in changes:
            if isinstance(change, ItemUpsert):
                known[change.item_id] = change.item, change.embedding.tolist()
        return known


@pytest.fixture(params=SCHEMES)
def new_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Shop]]:
    numbers = itertools.count(1)
    made: list[Shop] = []

    def make() -> Shop:
        number = next(numbers)
        folder = tmp_path / str(number)
        folder.mkdir()
        url = f"sqlite://{folder / 'state.sqlite'}"
        if request.param == "redis":
            url = database(request.getfixturevalue("redis_url"), 1 + number % 8)
        made.append(Shop(folder, url))
        return made[-1]

    yield make
    for shop in made:
        shop.sqlite.close()


def iter_records(consumer: Any) -> Iterator[Any]:
    while records := consumer.poll(100, 0.0):
        yield from records


def drain(*workers: Worker) -> None:
    while sum(worker.step() for worker in workers):
        pass


def intruded(state: OpenState, call: int, intrude: Callable[[], object]) -> Any:
    """Return the state, in front of whose numbered call something else happens."""
    count = itertools.count(1)

    class Intruded:
        def __getattr__(self, name: str) -> Any:
            method = getattr(state, name)

            def called(*arguments: Any, **named: Any) -> Any:
                if next(count) == call:
                    intrude()
                return method(*arguments, **named)

            return called

    return Intruded()


OLD, NEW, IMPORTED = user(1, 1), user(1, 9), user(2, 7)
OLD_ITEM, NEW_ITEM, IMPORTED_ITEM = item(1), item(1, "copper kettle"), item(2)


def undisturbed(shop: Shop) -> Any:
    shop.import_("import-1", FIRST, OLD, OLD_ITEM)
    shop.import_("import-2", SECOND, IMPORTED, IMPORTED_ITEM)
    with closing(shop.open_state()) as state:
        worker = shop.start(state)
        shop.send(LIVE, NEW, NEW_ITEM)
        drain(worker)
        found = shop.contents(state)
    items, changelog, histories, *_ = found
    assert items == {"i1": NEW_ITEM}
    assert {key: each[0] for key, each in changelog.items()} == items
    assert sum(map(len, histories.values())) == len(MADE)
    return found


def test_one_that_starts_at_any_call_of_a_worker(new_shop: Callable[[], Shop]) -> None:
    expected = undisturbed(new_shop())
    for call in itertools.count(1):
        shop = new_shop()
        intrusions: list[int] = []
        shop.import_("import-1", FIRST)
        with closing(shop.open_state()) as own, closing(shop.open_state()) as others:

            def start(shop: Shop = shop, others: OpenState = others, log: Any = intrusions) -> None:
                log.append(shop.take_up(others))

            shop.take_up(own)
            shop.send(LIVE, NEW, NEW_ITEM)
            shop.import_("import-2", SECOND, OLD, IMPORTED, OLD_ITEM, IMPORTED_ITEM)
            worker = shop.worker(intruded(own, call, start))
            drain(worker)
            if not intrusions:
                break
            drain(worker)  # what came with the last call of all
            assert intrusions == [len(SECOND)]
            assert shop.contents(own) == expected, f"at call {call}"
    assert call > 20


def test_two_that_start_together_for_the_first_time(new_shop: Callable[[], Shop]) -> None:
    expected = undisturbed(new_shop())
    for call in itertools.count(1):
        shop = new_shop()
        intrusions: list[Worker] = []
        shop.import_("import-1", FIRST, OLD, OLD_ITEM)
        shop.import_("import-2", SECOND, IMPORTED, IMPORTED_ITEM)
        shop.send(LIVE, NEW, NEW_ITEM)
        with closing(shop.open_state()) as own, closing(shop.open_state()) as others:

            def start(shop: Shop = shop, others: OpenState = others, log: Any = intrusions) -> None:
                log.append(shop.start(others))
                drain(*log)

            worker = shop.start(intruded(own, call, start))
            drain(worker, *intrusions)
            if not intrusions:
                break
            assert shop.contents(own) == expected, f"at call {call}"
    assert call > 20


def test_who_is_erased_while_segments_go_to_the_log_stays_erased(
    new_shop: Callable[[], Shop],
) -> None:
    shop = new_shop()
    with closing(shop.open_state()) as state:
        worker = shop.start(state)
        shop.import_("import-1", FIRST)
        shop.import_("import-2", SECOND)

        def erase(_: str, number: int, __: int) -> None:
            if number == 1:
                shop.log.append(USERS, [Message("u1", None)])

        materialise(shop.archive, state, shop.online, shop.log, progress=erase)
        drain(worker)
        histories = {each.user_id: each for some in state.all_histories() for each in some}
        assert histories.keys() == {"u0"}
        imported = [each for each in FIRST + SECOND if each.user_id == "u0"]
        assert len(histories["u0"].events) == len(imported)
