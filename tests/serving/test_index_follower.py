"""The follower of the item changelog, while the log comes and goes."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from feature_repo.event_log import (
    ITEM_EMBEDDINGS,
    EventLogError,
    LogConsumer,
    LogRecord,
    Positions,
)
from feature_repo.history import UserHistory
from feature_repo.schema import Item
from serving import index_follower
from serving.candidate_space import CandidateSpace
from serving.catalogue import Catalogue
from serving.exact_index import ExactIndex
from serving.index_follower import IndexFollower
from serving.item_changelog import (
    ItemChange,
    ItemDeletion,
    ItemMove,
    ItemUpsert,
    decode_change,
    encode_change,
)
from serving.live_model import LiveModel, ModelHolder
from streaming.sqlite_log import SqliteLog
from tests.support.items import items_of

SERVED = "served"
UNENCODABLE = "unencodable"


class Encoder:
    """Knows no item whose title is `UNENCODABLE`."""

    bundle_version = SERVED

    def encode_queries(
        self, histories: Sequence[UserHistory], query_texts: Sequence[str] | None = None
    ) -> np.ndarray:
        return np.zeros((len(histories), 2), np.float32)

    def encode_candidates(self, items: Sequence[Item], at: datetime) -> np.ndarray:
        if any(item.title == UNENCODABLE for item in items):
            raise ValueError("no such word")
        return np.full((len(items), 2), 7, np.float32)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        return np.zeros((len(texts), 2), np.float32)


class WatchedCatalogue(Catalogue):
    """Keeps what each item was made, in order: its price, or None where it was deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.applied: dict[str, list[float | None]] = defaultdict(list)
        self.on_change: Callable[[], None] = lambda: None

    def upsert(self, items: Sequence[Item]) -> None:
        super().upsert(items)
        for item in items:
            self.applied[item.item_id].append(item.price)
        self.on_change()

    def delete(self, item_ids: Sequence[str]) -> None:
        super().delete(item_ids)
        for item_id in item_ids:
            self.applied[item_id].append(None)


class Consumer:
    def __init__(self, log: "FailingLog", inner: LogConsumer) -> None:
        self._log = log
        self._inner = inner

    def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
        self._log.polls += 1
        self._log.on_poll()
        if self._log.polls in self._log.failing:
            raise self._log.error
        if records := self._inner.poll(max_records, 0.0):
            self._log.polled += len(records)
            return records
        self._log.at_end()
        return []

    def close(self) -> None:
        self._inner.close()


class FailingLog:
    """A log whose polls fail by number, and which calls `at_end` when all of it was read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._logs: list[SqliteLog] = []
        self.failing: set[int] = set()
        self.polls = self.polled = 0
        self.at_end: Callable[[], None] = lambda: None
        self.on_poll: Callable[[], object] = lambda: None
        self.error: Exception = EventLogError("connection reset")
        self.make_anew()

    def make_anew(self) -> None:
        """Begin another, empty log in this one's place."""
        self._logs.append(SqliteLog(self._folder / f"{len(self._logs)}.sqlite"))

    def append(self, *changes: ItemChange) -> None:
        self._logs[-1].append(ITEM_EMBEDDINGS, [encode_change(change) for change in changes])

    def consumer(
        self, group: str | None, topics: Sequence[str], positions: Positions | None = None
    ) -> Consumer:
        return Consumer(self, self._logs[-1].consumer(group, topics, positions))

    def close(self) -> None:
        for log in self._logs:
            log.close()


class Replica:
    """A follower whose thread is the test's: `follow` returns when the log was read to its end."""

    def __init__(self, folder: Path) -> None:
        self.log = FailingLog(folder)
        self.catalogue = WatchedCatalogue()
        table = ExactIndex(2, self.catalogue.rows)
        model = LiveModel(CandidateSpace(SERVED, 2, 1.0, {}), Encoder(), table, table)
        self.follower = IndexFollower(self.log, ModelHolder(model), self.catalogue)  # type: ignore[arg-type]
        self.log.at_end = self.stop

    def stop(self) -> None:
        """End after this poll, unless another is to fail."""
        if self.log.polls >= max(self.log.failing, default=0):
            self.follower.end()

    def follow(self) -> None:
        self.follower._stop.clear()
        self.follower._run()

    def fail_next(self) -> None:
        self.log.failing.add(self.log.polls + 1)

    def prices(self) -> dict[str, float | None]:
        return {item.item_id: item.price for item in items_of(self.catalogue)}


@contextmanager
def replica() -> Iterator[Replica]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_follower, "RETRY_SECONDS", 0.0)
        patch.setattr(index_follower, "BATCH", 2)
        replica = Replica(Path(folder))
        try:
            yield replica
        finally:
            replica.log.close()


def priced(item_id: str, price: float, title: str = "", version: str = SERVED) -> ItemUpsert:
    item = Item(item_id=item_id, price=price, title=title)
    return ItemUpsert(item, np.ones(2, np.float32), version)


def is_part(part: list[float | None], whole: list[float | None]) -> bool:
    """Whether `part` is `whole` with some left out."""
    rest = iter(whole)
    return all(value in rest for value in part)


@settings(max_examples=40)
@given(
    changes=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=10),
    failing=st.sets(st.integers(1, 12), max_size=5),
)
def test_no_failure_of_the_log_takes_an_item_back(
    changes: list[tuple[str, bool]], failing: set[int]
) -> None:
    history: dict[str, list[float | None]] = defaultdict(list)
    with replica() as shop:
        shop.log.failing = failing
        for price, (item_id, is_there) in enumerate(changes):
            change = priced(item_id, float(price)) if is_there else ItemDeletion(item_id)
            history[item_id].append(float(price) if is_there else None)
            shop.log.append(change)
        shop.follow()
        assert shop.follower.caught_up
        assert shop.follower.last_error is None
        last = {item_id: states[-1] for item_id, states in history.items()}
        assert shop.prices() == {key: price for key, price in last.items() if price is not None}
        for item_id, applied in shop.catalogue.applied.items():
            assert is_part(applied, history[item_id])


def test_after_a_failure_only_what_is_new_is_read() -> None:
    with replica() as shop:
        shop.log.append(*(priced(f"i{number}", 1.0) for number in range(9)))
        shop.follow()
        read = shop.log.polled
        shop.fail_next()
        shop.log.append(priced("i9", 1.0))
        shop.follow()
        assert shop.catalogue.get("i9") is not None
        # The last one again, by which the log is known.
        assert shop.log.polled == read + 2


@pytest.mark.parametrize("length", [0, 1, 3, 8])
def test_a_log_made_anew_is_applied_from_its_start(length: int) -> None:
    with replica() as shop:
        shop.log.append(*(priced(f"old{number}", 1.0) for number in range(3)))
        shop.follow()
        shop.log.make_anew()
        shop.log.append(*(priced(f"new{number}", 2.0) for number in range(length)))
        shop.fail_next()
        ready: list[bool] = []
        shop.catalogue.on_change = lambda: ready.append(shop.follower.caught_up)
        shop.follow()
        assert {f"new{number}" for number in range(length)} <= shop.prices().keys()
        # What it says of an item may be taken back further on.
        assert not any(ready)
        assert shop.follower.caught_up


@pytest.mark.parametrize("error", [EventLogError("connection reset."), RuntimeError("a bug")])
def test_each_reason_is_logged_once_and_told_until_the_log_is_read(error: Exception) -> None:
    with replica() as shop, capture_logs() as logs:
        shop.log.error = error
        shop.log.append(priced("a", 1.0))
        shop.log.failing = {1, 2, 3}
        told: list[Exception | None] = []
        shop.log.on_poll = lambda: told.append(shop.follower.last_error)
        shop.follow()
        known = isinstance(error, EventLogError)
        reason = "connection reset" if known else "RuntimeError: a bug"
        assert told == [None, error, error, error, None]
        failed, ended = logs
        assert (failed["reason"], failed["exc_info"]) == (reason, not known)
        assert ended["event"] == "index_follower_reads_again"


@pytest.mark.parametrize("applied", [0, 3])
def test_what_cannot_be_applied_is_logged_once_though_it_is_read_each_time(
    monkeypatch: pytest.MonkeyPatch, applied: int
) -> None:
    def decoded(record: LogRecord) -> ItemChange:
        if record.key == "bad":
            raise TypeError("a bug")
        return decode_change(record)

    monkeypatch.setattr(index_follower, "decode_change", decoded)
    with replica() as shop, capture_logs() as logs:
        shop.log.append(*(priced(f"i{number}", 1.0) for number in range(applied)))
        shop.follow()
        shop.log.append(priced("bad", 1.0))
        polls = shop.log.polls
        shop.log.on_poll = lambda: shop.log.polls > polls + 8 and shop.follower.end()
        shop.follow()
        assert [line["event"] for line in logs] == ["index_follower_failed"]
        assert isinstance(shop.follower.last_error, TypeError)


def test_a_change_that_cannot_be_applied_holds_no_other_up() -> None:
    with replica() as shop, capture_logs() as logs:
        shop.log.append(
            priced("a", 1.0, version="other"),
            priced("b", 2.0, UNENCODABLE, version="other"),
            ItemDeletion("a"),
            priced("c", 3.0, version="other"),
        )
        shop.follow()
        shop.log.append(priced("d", 4.0))
        shop.follow()
        assert shop.follower.caught_up
        assert shop.prices() == {"c": 3.0, "d": 4.0}
        assert shop.catalogue.applied["c"] == [3.0]
        failures = [line for line in logs if line["log_level"] == "error"]
        assert [(line["event"], line["item_id"]) for line in failures] == [
            ("item_change_failed", "b")
        ]
        # Its item stays as it was; the changelog is followed.
        (metric,) = shop.follower.failed.collect()
        assert {sample.name: sample.value for sample in metric.samples}[
            "riverrun_item_changes_failed_total"
        ] == 1
        assert shop.follower.last_error is None


def test_a_move_changes_the_embedding_and_leaves_it_to_the_bundles_what_the_item_is() -> None:
    with replica() as shop:
        shop.catalogue.load_snapshot([Item(item_id="a", price=1.0)])
        moves = [ItemMove(key, np.full(2, 3.0, np.float32), SERVED) for key in ("a", "unknown")]
        shop.log.append(*moves)
        shop.follow()
        embeddings, found = shop.follower._holder.current.table.embeddings_of(["a", "unknown"])
        assert found.tolist() == [True, False]
        assert embeddings[0].tolist() == [3.0, 3.0]
        shop.catalogue.load_snapshot([Item(item_id="a", price=8.0)])
        assert shop.prices() == {"a": 8.0}


@pytest.mark.parametrize("between", [0, 1, 2])
def test_a_move_takes_nothing_from_a_change_before_it(between: int) -> None:
    """Whether or not both are read at once."""
    others = [priced(f"other-{number}", 0.0) for number in range(between)]
    sent, other = priced("a", 5.0), priced("b", 6.0)
    with replica() as shop:
        moves = [ItemMove(key, np.full(2, 3.0, np.float32), SERVED) for key in ("a", "b")]
        shop.log.append(other, sent, *others, ItemDeletion("b"), *moves)
        shop.follow()
        prices = shop.prices()
        assert (prices["a"], "b" in prices) == (5.0, False)
        embeddings, found = shop.follower._holder.current.table.embeddings_of(["a", "b"])
        assert (embeddings[0].tolist(), found.tolist()) == ([3.0, 3.0], [True, False])
