"""What every `OnlineFeatures` does. A new implementation adds its URL to `urls`."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.online_features import (
    FeatureRecord,
    ItemEmbedding,
    ItemStatistics,
    OnlineFeatures,
    UserEmbedding,
    key_of,
)
from feature_repo.open_online_features import open_online_features
from feature_repo.schema import Item, User
from tests.support.records import RECORDS, comparable

Open = Callable[[str], OnlineFeatures]
SCHEMES = ["memory", "sqlite", pytest.param("redis", marks=pytest.mark.redis)]
LASTING = SCHEMES[1:]


@pytest.fixture(scope="module")
def open_store(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Open]:
    """Opens the store of a scheme, as one process after another would."""
    folder = tmp_path_factory.mktemp("online")
    opened: list[OnlineFeatures] = []

    def open_it(scheme: str) -> OnlineFeatures:
        urls = {"memory": "memory://", "sqlite": f"sqlite://{folder / 'online.sqlite'}"}
        url = urls[scheme] if scheme in urls else request.getfixturevalue("redis_url")
        opened.append(open_online_features(url, folder / f"{scheme}.db"))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture(scope="module", params=SCHEMES)
def store(request: pytest.FixtureRequest, open_store: Open) -> OnlineFeatures:
    """One store for all tests of the module: each uses keys of its own."""
    return open_store(request.param)


def stored(store: OnlineFeatures, record: FeatureRecord) -> object:
    """Return what the store has under the record's key, in comparable form."""
    view: Any = type(record)
    [found] = store.get(view, [key_of(record)])
    return comparable(found)


def history(user_id: str, *timestamps: int) -> UserHistory:
    return UserHistory(
        user_id, tuple(HistoryEvent(time, f"e{time}", "i", "view", 0.0) for time in timestamps)
    )


# What a store must tell apart from nothing stored.
EMPTY: list[FeatureRecord] = [
    UserHistory("empty"),
    User(user_id="empty"),
    Item(item_id="empty"),
    UserEmbedding("empty", np.zeros(0, np.float32), "", 0),
    ItemEmbedding("empty", np.zeros(0, np.float32), ""),
    ItemStatistics("empty", 0, (), (), (), ()),
]


@settings(max_examples=60)
@given(records=st.lists(RECORDS, max_size=6))
def test_a_record_comes_back_as_it_was(store: OnlineFeatures, records: list[FeatureRecord]) -> None:
    store.push(records)
    newest = {(type(record), key_of(record)): record for record in records}
    for record in newest.values():
        assert stored(store, record) == comparable(record)


@pytest.mark.parametrize("record", EMPTY, ids=lambda record: type(record).__name__)
def test_an_empty_record_is_a_record(store: OnlineFeatures, record: FeatureRecord) -> None:
    store.push([record])
    assert stored(store, record) == comparable(record)


def test_one_push_holds_records_of_all_views(store: OnlineFeatures) -> None:
    records: list[FeatureRecord] = [
        history("mixed", 1),
        User(user_id="mixed", attributes={"plan": "gold", "age": 41.5, "new": False}),
        UserEmbedding("mixed", np.array([0.1, -2.0], np.float32), "v", 1),
        Item(item_id="mixed", title="Teekanne", price=0.0),
        ItemEmbedding("mixed", np.array([1e-30, 3.4e38], np.float32), "v"),
        ItemStatistics("mixed", 5, ("view", "cart"), (1.0, 2.0), (3.0, 4.0), (5.0, 6.0)),
    ]
    store.push(records)
    for record in records:
        assert stored(store, record) == comparable(record)


def test_views_and_keys_do_not_mix(store: OnlineFeatures) -> None:
    store.push([User(user_id="same", attributes={"a": "user"}), Item(item_id="same", title="item")])
    store.delete(User, ["same"])
    assert store.get(User, ["same"]) == [None]
    assert store.get(UserHistory, ["same"]) == [None]
    [item] = store.get(Item, ["same"])
    assert item is not None
    assert item.title == "item"


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=5))
@settings(max_examples=20)
def test_the_last_push_wins_whatever_its_timestamps(
    store: OnlineFeatures, versions: list[list[int]]
) -> None:
    for timestamps in versions:
        store.push([history("rewritten", *timestamps)])
    assert store.get(UserHistory, ["rewritten"]) == [history("rewritten", *versions[-1])]


def test_the_last_record_of_a_key_in_one_push_wins(store: OnlineFeatures) -> None:
    store.push([history("twice", 1, 2), history("other", 3), history("twice", 1)])
    assert store.get(UserHistory, ["twice"]) == [history("twice", 1)]


def test_what_is_deleted_is_gone_until_it_is_pushed_again(store: OnlineFeatures) -> None:
    store.push([history("going", 1), history("staying", 1)])
    store.delete(UserHistory, ["going", "never-there"])
    assert store.get(UserHistory, ["going", "staying"]) == [None, history("staying", 1)]
    store.push([history("going", 2)])
    assert store.get(UserHistory, ["going"]) == [history("going", 2)]


def test_an_unknown_key_is_none_and_the_order_of_keys_is_kept(store: OnlineFeatures) -> None:
    known = [f"k{number}" for number in range(700)]
    store.push([history(key, number) for number, key in enumerate(known)])
    asked = [key for number, key in enumerate(reversed(known)) for key in (key, f"unknown{number}")]
    # More keys than SQLite takes arguments, and one of them twice.
    asked += [known[5]]
    found = store.get(UserHistory, asked)
    assert [None if one is None else one.user_id for one in found] == [
        key if key.startswith("k") else None for key in asked
    ]
    assert store.get(UserHistory, []) == []


def test_nothing_pushed_or_deleted_is_no_error(store: OnlineFeatures) -> None:
    store.push([])
    store.delete(Item, [])


def test_readers_see_whole_records_beside_a_writer(store: OnlineFeatures) -> None:
    """A record is written whole: a reader sees an older or a newer one, never a mixture."""
    users = [f"busy{number}" for number in range(20)]
    store.push([history(user, 0) for user in users])
    done = threading.Event()
    failures: list[Any] = []

    def read() -> None:
        newest = 0
        try:
            while not done.is_set():
                for record in store.get(UserHistory, users):
                    assert record is not None
                    assert len(set(record.events)) == 1
                    version = record.events[0].timestamp
                    assert len(record.events) == version % 5 + 1
                [first] = store.get(UserHistory, users[:1])
                assert first is not None
                assert first.events[0].timestamp >= newest
                newest = first.events[0].timestamp
        except Exception as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for version in range(40):
        store.push([history(user, *[version] * (version % 5 + 1)) for user in users])
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []


@pytest.mark.parametrize("scheme", LASTING)
def test_a_store_opened_again_has_the_data(open_store: Open, scheme: str) -> None:
    first = open_store(scheme)
    first.push([history("lasting", 1, 2), history("erased", 1)])
    first.delete(UserHistory, ["erased"])
    first.close()
    again = open_store(scheme)
    assert again.get(UserHistory, ["lasting", "erased"]) == [history("lasting", 1, 2), None]


@pytest.mark.parametrize("scheme", LASTING)
def test_two_open_stores_see_each_others_records(open_store: Open, scheme: str) -> None:
    one, other = open_store(scheme), open_store(scheme)
    one.push([history("shared", 1)])
    assert other.get(UserHistory, ["shared"]) == [history("shared", 1)]
    other.push([history("shared", 2)])
    assert one.get(UserHistory, ["shared"]) == [history("shared", 2)]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/db", "`online_url` must start with"),
        ("redis://host:6379/first", "`online_url` must end with a database number"),
        ("redis://host:port/0", "`online_url`: Port could not be cast .* Received: 'redis://host"),
    ],
)
def test_an_unusable_url_is_refused(url: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        open_online_features(url, tmp_path / "registry.db")
