"""A replica learns from the store what its worker elsewhere has counted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from feature_repo.history import HistoryEvent
from feature_repo.in_memory_online_features import InMemoryOnlineFeatures
from feature_repo.online_features import CoVisitation, ItemStatistics
from feature_repo.schema import Item
from feature_repo.times import microseconds
from serving import statistics_reader
from serving.catalogue import Catalogue
from serving.settings import ServingSettings
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.trending import TrendingSource
from serving.statistics_reader import AWAY, READING, StatisticsReader
from tests.support.stream import NOW

ITEMS = [f"i{number}" for number in range(7)]


def statistics(item_id: str, views: float) -> ItemStatistics:
    counts = (views,)
    return ItemStatistics(item_id, microseconds(NOW), ("view",), counts, counts, counts)


class Replica:
    """Its sources, and the store that a worker elsewhere writes to."""

    def __init__(self) -> None:
        catalogue, settings = Catalogue(), ServingSettings()
        catalogue.upsert([Item(item_id=item_id) for item_id in ITEMS])
        catalogue.delete(["i2"])
        self.online = InMemoryOnlineFeatures()
        self.trending = TrendingSource(catalogue.rows, settings)
        self.co_visitation = CoVisitationSource(catalogue.rows, settings)
        self.catalogue, self.caught_up = catalogue, True
        self.reader = StatisticsReader(
            self.online,
            catalogue,
            self.trending,
            self.co_visitation,
            caught_up=lambda: self.caught_up,
        )


@pytest.fixture
def replica(monkeypatch: pytest.MonkeyPatch) -> Replica:
    monkeypatch.setattr(statistics_reader, "BATCH", 3)
    return Replica()


def test_all_listed_items_are_read(replica: Replica) -> None:
    replica.online.push([statistics(item_id, n + 1) for n, item_id in enumerate(ITEMS)])
    replica.online.push([CoVisitation("i6", 0, ("i0", "i5"), (1.0, 3.0))])
    replica.reader.read()
    scores = replica.trending.score_of(np.arange(len(ITEMS)), NOW)
    np.testing.assert_allclose(scores, [1, 2, 0, 4, 5, 6, 7], rtol=1e-5)
    neighbours = replica.co_visitation.neighbours_of([HistoryEvent(0, "e", "i6", "view", 0.0)])
    assert neighbours.rows.tolist() == [0, 5]


class Away(InMemoryOnlineFeatures):
    """Fails from the second batch on, until `back`."""

    back = False
    asked = 0

    def get(self, view: Any, keys: Sequence[str]) -> list[Any]:
        self.asked += 1
        if self.asked > 2 and not self.back:
            raise ConnectionError("Redis is away")
        return super().get(view, keys)


def test_a_replica_is_not_ready_before_all_has_been_read_once(replica: Replica) -> None:
    store = replica.reader._online = Away()
    assert replica.reader.not_ready()
    with pytest.raises(ConnectionError):
        replica.reader.read()
    assert replica.reader.not_ready() == [READING]
    store.back = True
    replica.reader.read()
    assert replica.reader.not_ready() == []


def test_a_replica_is_not_ready_before_the_items_of_the_changelog_have_been_read(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica.caught_up = False
    replica.online.push([statistics("late", 5.0)])
    replica.reader.read()
    assert replica.reader.not_ready()
    pauses: list[float] = []

    def wait(seconds: float) -> None:
        # The changelog brings an item, and ends, while those listed before are being read.
        if not pauses:
            replica.catalogue.upsert([Item(item_id="late")])
            replica.caught_up = True
        pauses.append(seconds)

    monkeypatch.setattr(replica.reader._stop, "wait", wait)
    replica.reader.read()
    assert replica.reader.not_ready()
    replica.reader.read()
    assert replica.reader.not_ready() == []
    assert set(pauses) == {0.0}
    rows = replica.catalogue.rows.rows_of(["late"])
    np.testing.assert_allclose(replica.trending.score_of(rows, NOW), [5], rtol=1e-5)


def test_nobody_waits_for_a_store_that_is_away(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = replica.reader._online = Away()
    said: list[tuple[list[str], list[str]]] = []

    def wait(_: float) -> bool:
        """After each batch, and each reading."""
        said.append((list(replica.reader.not_ready()), list(replica.reader.degraded())))
        store.back = len(said) >= 5
        stop = len(said) >= 9
        if stop:
            replica.reader.end()
        return stop

    monkeypatch.setattr(replica.reader._stop, "wait", wait)
    with capture_logs() as logs:
        replica.reader._run()
    reading, away = [READING], [AWAY]
    # A batch, and four readings that fail; two batches, and all is read; it goes on.
    assert said[:5] == [(reading, []), *[([], away)] * 4]
    # Whoever answers without it is not taken out because it can be read again.
    assert said[5:] == [([], reading)] * 2 + [([], [])] * 3
    events = [(line["event"], line.get("reason")) for line in logs]
    assert events == [
        ("statistics_not_read", "ConnectionError: Redis is away"),
        ("statistics_read_again", None),
    ]
    assert not any("exc_info" in line for line in logs)


def test_nobody_waits_before_all_has_been_read_once(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(replica.reader._stop, "wait", lambda seconds: pauses.append(seconds))
    replica.reader.read()
    assert pauses == [0.0, 0.0]
    replica.reader.read()
    assert all(seconds > 0 for seconds in pauses[2:])


def test_what_has_not_changed_leaves_the_head_of_the_trends(replica: Replica) -> None:
    """Or each batch of each reading would cost the next request a look at all rows."""
    replica.online.push([statistics(item_id, 1) for item_id in ITEMS])
    replica.reader.read()
    head = replica.trending.head()
    replica.reader.read()
    assert replica.trending.head() is head
    replica.online.push([statistics("i6", 9)])
    replica.reader.read()
    assert ITEMS[replica.trending.head()[0]] == "i6"
