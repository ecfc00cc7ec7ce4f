"""How many records make a batch, and how long it waits for them."""

from itertools import chain

from feature_repo.event_log import EVENTS, EventLogError, LogRecord, TopicPartition
from streaming.batch_poller import BatchPoller

MANY = 2**30


class Records:
    """A reader with so many records, of which each call gives some; None: it fails then."""

    def __init__(self, *polls: int | None, value: bytes = b"") -> None:
        self._value = value
        self.asked: list[tuple[int, float]] = []
        self.polled = 0
        self._polls = list(polls)

    def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
        self.polled += 1
        return self.more(max_records, timeout)

    def more(self, max_records: int, timeout: float) -> list[LogRecord]:
        self.asked.append((max_records, timeout))
        there = self._polls.pop(0)
        if there is None:
            raise EventLogError("no broker answers")
        record = LogRecord(TopicPartition(EVENTS, 0), 0, None, self._value)
        return [record] * min(there, max_records)


def test_who_is_behind_takes_more_and_more_at_once_up_to_a_limit() -> None:
    consumer = Records(100, 100, 100, 100, 12, 5, 100)
    poller = BatchPoller(consumer, batch_records=10, batch_bytes=MANY, linger_seconds=0.0)
    assert [len(poller.poll(0.25)) for _ in range(7)] == [10, 40, 80, 80, 12, 5, 10]
    assert [most for most, _ in consumer.asked] == [10, 40, 80, 80, 80, 48, 10]


def test_a_batch_waits_until_it_is_full_and_no_longer() -> None:
    consumer = Records(3, 0, 4, 3, 100)
    poller = BatchPoller(consumer, batch_records=10, batch_bytes=MANY, linger_seconds=60.0)
    assert len(poller.poll(0.25)) == 10
    assert [most for most, _ in consumer.asked] == [10, 7, 7, 3]
    assert all(0 < left <= 60.0 for _, left in consumer.asked[1:])
    # A poll may wait longer than it is asked to: never with records in hand.
    assert consumer.polled == 1


def test_a_batch_lingers_longer_after_one_of_many_and_no_longer_after_one_of_few() -> None:
    # The last call of each batch fails: so it ends without a wait.
    batches = (1, 40, 300, 90_000, 20, 3)
    consumer = Records(*chain.from_iterable((size, None) for size in batches))
    poller = BatchPoller(consumer, batch_records=100_000, batch_bytes=MANY, linger_seconds=60.0)
    assert tuple(len(poller.poll(0.25)) for _ in batches) == batches
    lingers = [left for _, left in consumer.asked[1::2]]
    most = (60, 60, 120, 600, 600, 60)
    assert all(0.9 * bound < left <= bound for left, bound in zip(lingers, most, strict=True))


def test_who_is_behind_does_not_linger() -> None:
    consumer = Records(10, 25)
    poller = BatchPoller(consumer, batch_records=10, batch_bytes=MANY, linger_seconds=60.0)
    assert [len(poller.poll(0.25)) for _ in range(2)] == [10, 25]


def test_an_empty_poll_does_not_linger() -> None:
    consumer = Records(0)
    assert (
        BatchPoller(consumer, batch_records=10, batch_bytes=MANY, linger_seconds=60.0).poll(0.25)
        == []
    )


def test_a_poll_for_more_that_fails_loses_nothing() -> None:
    poller = BatchPoller(Records(3, None), batch_records=10, batch_bytes=MANY, linger_seconds=60.0)
    assert len(poller.poll(0.25)) == 3


def test_a_batch_of_many_bytes_waits_for_no_more() -> None:
    consumer = Records(3, 3, 3, 3, value=bytes(10))
    poller = BatchPoller(consumer, batch_records=100, batch_bytes=60, linger_seconds=60.0)
    assert [len(poller.poll(0.25)) for _ in range(2)] == [6, 6]
    assert consumer.polled == 2
