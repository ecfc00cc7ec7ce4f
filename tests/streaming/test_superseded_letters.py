"""What is put back of items and users never takes the place of what came later."""

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_repo.event_log import (
    ITEMS,
    USERS,
)
from feature_repo.log_records import encode_record
from feature_repo.schema import Item
from streaming.dead_letters import (
    Replayed,
)
from streaming.kafka_settings import KafkaSettings
from streaming.settings import StreamingSettings
from tests.support.letter_shop import REFUSING, Kind, Shop, interleaved
from tests.support.stream import user

SMALL = StreamingSettings(linger_seconds=0, kafka=KafkaSettings(max_message_bytes=2_048))


LARGE = StreamingSettings(linger_seconds=0)


class Catalogue:
    """One item of which records come, by number: some too long for the workers, until the end."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._records: list[tuple[str, float | None]] = []

    def take(self, what: str) -> None:
        """Take a `good` record, a `long` one, or one that says that the item is `gone`."""
        price = None if what == "gone" else float(len(self._records))
        self._records.append((what, price))
        text = "x" * 3_000 if what == "long" else "x"
        made = Item(item_id="i", price=price, description=text)
        self._shop.append(ITEMS, "i", None if what == "gone" else encode_record(made))

    def trim(self) -> None:
        """Let the log forget what everybody has read."""
        self._shop.archive_all()
        self._shop.log.trim(ITEMS, ["worker", "archive"])

    def last(self) -> tuple[float | None, float | None]:
        """Return the last price that was sent, and the last that could be read."""
        good = [price for what, price in self._records if what != "long"]
        return self._records[-1][1] if self._records else None, good[-1] if good else None

    def shown(self) -> float | None:
        made = self._shop.state.items(["i"]).get("i")
        return None if made is None else made.price


@pytest.mark.parametrize("kind", [lambda log: log, interleaved])
@settings(max_examples=20, deadline=None)
@given(
    steps=st.lists(st.sampled_from(["good", "long", "gone", "work", "replay", "trim"]), max_size=10)
)
@example(["long", "good", "work"])
@example(["long", "work", "gone", "work"])
@example(["good", "work", "long", "long", "work"])
@example(["long", "work", "good", "work", "trim"])
@example(["good", "long", "work", "trim"])
@example(["long", "work", "trim"])
@example(["long", "work", "replay", "work", "replay", "good"])
def test_what_is_put_back_is_never_older_than_what_is_there(kind: Kind, steps: list[str]) -> None:
    """And it is the last that was sent, where the log still holds what could tell."""
    with TemporaryDirectory() as name, closing(Shop(Path(name), kind)) as shop:
        shop.append(ITEMS, "other", None)
        shop.work(SMALL)
        item = Catalogue(shop)
        for step in [*steps, "work", "replay"]:
            if step == "work":
                shop.work(SMALL)
            elif step == "replay":
                shop.replay()
            elif step == "trim":
                item.trim()
            else:
                item.take(step)
        shop.work(LARGE)
        last, good = item.last()
        assert item.shown() in ({last, good} if "trim" in steps else {last})


def test_letters_that_later_records_have_replaced_are_counted(tmp_path: Path) -> None:
    with closing(Shop(tmp_path, lambda log: log)) as shop:
        for key in ("i1", "i2"):
            shop.append(ITEMS, key, b"[]")
        for key in ("u1", "u2"):
            shop.append(USERS, key, b"[]")
        shop.append(ITEMS, "i1", encode_record(Item(item_id="i1")))
        shop.append(USERS, "u1", encode_record(user(1)))
        shop.work(REFUSING)
        assert shop.replay() == Replayed(put_back=2, superseded=2)
        shop.append(ITEMS, "i3", encode_record(Item(item_id="i3")))
        for key in ("i3", "i4"):
            shop.append(ITEMS, key, b"[]")
        shop.work(REFUSING)
        shop.archive_all()
        for topic in (ITEMS, USERS):
            assert shop.log.trim(topic, ["worker", "archive"])
        # i2 and u2 were refused again; of i2 and i4 the log has never brought anything.
        assert shop.replay() == Replayed(put_back=2, uncertain=2)
