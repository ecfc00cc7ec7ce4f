"""Late and future events, and a user who asks to be forgotten, through a Kafka."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from kafka import KafkaProducer

from feature_repo.event_log import EVENTS, USERS, Message
from feature_repo.history import UserHistory
from feature_repo.offline_features import OfflineFeatures
from feature_repo.online_features import UserEmbedding
from feature_repo.open_online_features import open_online_features
from feature_repo.schema import Event, Item, User
from streaming.dead_letters import dead_letters
from tests.support.kafka_stream import KafkaShop
from tests.support.redis_server import database
from tests.support.stream import NOW, event, user
from tests.support.traffic import Record
from tests.support.waiting import wait_until
from trainer.history_examples import joined_windows
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.redis,
    pytest.mark.timeout(600),
]


@pytest.fixture
def shop(tmp_path: Path, kafka_address: str, redis_url: str) -> Iterator[KafkaShop]:
    shop = KafkaShop(tmp_path / "shop", kafka_address, database(redis_url, 2))
    yield shop
    shop.close()


def record(happened: Event) -> Record:
    return EVENTS, happened.user_id, happened.model_dump_json().encode()


def test_late_events_sort_in_and_future_ones_are_refused(shop: KafkaShop) -> None:
    worker = shop.start()
    shop.send([[record(event(n, "u1", f"i{n}", 60 * n)) for n in (3, 1)]])
    shop.settle()
    # The broker's clock, unlike the tests' own, says when it took them.
    ahead = [
        event(9, "u1", "i9").model_copy(update={"timestamp": datetime.now(UTC) + lead})
        for lead in (timedelta(hours=25), timedelta(hours=23))
    ]
    shop.send([[record(event(2, "u1", "i2", 120)), *map(record, ahead)]])
    shop.settle()
    worker.stop()
    history = shop.state()["histories"]["u1"]
    assert [each.item_id for each in history.events] == ["i1", "i2", "i3", "i9"]
    (letter,) = dead_letters(shop.log)
    assert (
        "`timestamp` must be at most 1 day, 0:00:00 ahead of when the log took the event"
        in letter.reason
    )


def test_an_erased_user_is_gone_and_does_not_come_back(shop: KafkaShop) -> None:
    events = [event(n, f"u{n % 2}", f"i{n % 3}", n) for n in range(40)]
    people = [user(number) for number in (0, 1)]
    profiles: list[Record] = [
        (USERS, each.user_id, each.model_dump_json().encode()) for each in people
    ]
    worker = shop.start()
    shop.send([[*map(record, events), *profiles]])
    shop.settle()
    assert is_known(shop, "u0")
    learn(shop)
    shop.send([[(USERS, "u0", None)]])
    shop.settle()
    assert is_forgotten(shop, "u0")
    assert is_known(shop, "u1")
    worker.stop()
    shop.run("rebuild")
    worker = shop.start()
    shop.settle()
    assert is_forgotten(shop, "u0")
    # A rebuild leaves embeddings to the worker, which makes them while nothing else is to be done.
    wait_until(lambda: is_known(shop, "u1"), seconds=60)
    # One who returns is a new user.
    shop.send([[record(event(1_000, "u0", "i1", 99))]])
    shop.settle()
    worker.stop()
    assert [each.event_id for each in shop.state()["histories"]["u0"].events] == ["e1000"]


def test_what_was_refused_of_an_erased_user_is_not_put_back(shop: KafkaShop) -> None:
    worker = shop.start()
    dances = [event(n, f"u{n % 2}", "i0", n, "dance") for n in range(4)]
    shop.send([[*map(record, dances), record(event(4, "u0", "i1"))]])
    shop.settle()
    # One erasure that the workers have read, of which a later event is the newest they know.
    shop.send([[(USERS, "u0", None)]])
    shop.settle()
    shop.send([[record(event(5, f"u{n}", "i2", 5)) for n in range(2, 9)]])
    shop.settle()
    worker.stop()
    # And one that nobody has read yet.
    shop.send([[record(event(6, "u3", "i0", 6, "dance"))]])
    worker = shop.start()
    shop.settle()
    worker.stop()
    shop.send([[(USERS, "u3", None)]])
    said = shop.run("dead-letters", "replay")
    assert "2 records were put back" in said
    assert "3 left out: their users were erased since" in said
    shop.settings = shop.settings.model_copy(update={"event_types": ()})
    worker = shop.start()
    shop.settle()
    worker.stop()
    histories = shop.state()["histories"]
    assert [each.event_id for each in histories["u1"].events] == ["e1", "e3"]
    assert histories.keys() & {"u0", "u3"} == set()


def test_an_erasure_reaches_events_that_are_read_after_it(shop: KafkaShop) -> None:
    """A backlog in `events` hides what the erased user did; their return lies behind it."""
    worker = shop.start()
    shop.send([[record(event(0, "u0", "i0"))], [(USERS, "u0", user(0).model_dump_json().encode())]])
    shop.settle()
    worker.stop()
    backlog = [event(n, f"u{1 + n % 8}", f"i{n % 5}", n % 600) for n in range(1, 3_001)]
    messages = [Message(each.user_id, each.model_dump_json().encode()) for each in backlog]
    shop.log.append(EVENTS, messages)
    shop.send([[record(event(3_001 + n, "u0", f"i{n}", n)) for n in range(3)]])
    forged = event(3_004, "u0", "i3", 9)
    producer = KafkaProducer(bootstrap_servers=list(shop.connection.servers))
    producer.send(
        shop.connection.topic(EVENTS), forged.model_dump_json().encode(), b"u0",
        timestamp_ms=int((NOW + timedelta(days=9_000)).timestamp() * 1_000),
    ).get(30)  # fmt: skip
    producer.close()
    time.sleep(0.01)  # what a broker takes in the erasure's own millisecond goes too
    shop.send([[(USERS, "u0", None)]])
    time.sleep(0.01)
    shop.send([[record(event(3_005, "u0", "i4", 5))]])

    worker = shop.start()
    shop.settle()
    worker.stop()
    assert of_user(shop, "u0") == ["e3005"]
    shop.run("rebuild")
    worker = shop.start()
    shop.settle()
    worker.stop()
    assert of_user(shop, "u0") == ["e3005"]
    assert len(shop.state()["events"]) == 3_001


def learn(shop: KafkaShop) -> None:
    """Make the windows that a training makes of the archive."""
    items = [Item(item_id=f"i{number}") for number in range(3)]
    interactions = Interactions.from_frame(shop.archive.events.scan().collect(), items)
    features = OfflineFeatures(shop.home / "features")
    assert len(joined_windows(interactions, TrainingSettings(), features))


def of_user(shop: KafkaShop, user_id: str) -> list[str]:
    """Return the user's events, which must be the same everywhere; no profile may be left."""
    state = shop.state()
    (online,) = [each for each in state["UserHistory"] if each and each.user_id == user_id]
    assert state["histories"][user_id] == online
    assert user_id not in [each.user_id for each in state["users"]]
    archived = sorted(row[0] for row in state["events"] if row[1] == user_id)
    assert archived == sorted(each.event_id for each in online.events)
    return archived


def traces(shop: KafkaShop, user_id: str) -> list[bool]:
    """Say of every place whether the user is in it."""
    state = shop.state()
    online = open_online_features(shop.redis_url, shop.home / "registry.db")
    with closing(online):
        return [
            user_id in state["histories"],
            any(user_id in row for row in state["events"]),
            user_id in [each.user_id for each in state["users"]],
            online.get(UserHistory, [user_id]) != [None],
            online.get(User, [user_id]) != [None],
            online.get(UserEmbedding, [user_id]) != [None],
        ]


def is_known(shop: KafkaShop, user_id: str) -> bool:
    return all(traces(shop, user_id))


def is_forgotten(shop: KafkaShop, user_id: str) -> bool:
    return not any([*traces(shop, user_id), is_in_features(shop, user_id)])


def is_in_features(shop: KafkaShop, user_id: str) -> bool:
    """Whether a training has left the user in the offline store."""
    files = (shop.home / "features").rglob("*.parquet*")
    return any(user_id in pl.read_parquet(file)["user_id"] for file in files)
