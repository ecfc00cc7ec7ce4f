"""What a worker publishes of items reaches every replica, over every `EventLog`."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

from feature_repo.event_log import ITEM_EMBEDDINGS, EventLog
from feature_repo.online_features import ItemEmbedding
from feature_repo.schema import Item
from serving.catalogue import Catalogue
from serving.exact_index import ExactIndex
from serving.index_follower import IndexFollower
from serving.live_model import LiveModel, ModelHolder
from streaming.fold_in import FoldIn
from streaming.kafka_log import KafkaLog
from streaming.metrics import StreamMetrics
from streaming.publisher import Publisher
from streaming.settings import FoldInSettings, StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.updates import Updates
from tests.support.kafka_server import fresh_topics
from tests.support.stream import DIMENSION, NOW, SPACE, FakeModel, HashEncoder, MemoryOnline
from tests.support.waiting import wait_until

LOGS = ["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)]
SENT, OF_BUNDLE = "i0", "i1"
BUNDLE = [Item(item_id=OF_BUNDLE, title="lamp")]
MOVED = (SENT, OF_BUNDLE)


@pytest.fixture(params=LOGS)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventLog]:
    if request.param == "kafka":
        address = request.getfixturevalue("kafka_address")
        log: EventLog = KafkaLog(fresh_topics(address, partitions=2))
    else:
        log = SqliteLog(tmp_path / "log.sqlite")
    with closing(log):
        yield log


class Replica:
    """Follows the log from the bundle on, as one `riverrun serve` does."""

    def __init__(self, log: EventLog, stack: ExitStack) -> None:
        self._catalogue = Catalogue()
        self._catalogue.load_snapshot(BUNDLE)
        table = ExactIndex(DIMENSION, self._catalogue.rows)
        table.upsert([OF_BUNDLE], HashEncoder().encode_candidates(BUNDLE, NOW))
        self._model = LiveModel(SPACE, HashEncoder(), table, table)
        self.follower = IndexFollower(log, ModelHolder(self._model), self._catalogue)
        self.follower.start()
        stack.callback(self.follower.stop)

    def has(self, item: Item, embedding: np.ndarray) -> bool:
        """Return whether it shows this very item, and retrieves it by this embedding."""
        (own,), found = self._model.table.embeddings_of([item.item_id])
        return bool(
            self._catalogue.get(item.item_id) == item
            and found.all()
            and np.array_equal(own, embedding)
        )

    def lacks(self, item_id: str) -> bool:
        return self._catalogue.get(item_id) is None and not self._model.knows_any([item_id])


def test_new_changed_moved_and_deleted_items_reach_every_replica(
    log: EventLog, tmp_path: Path
) -> None:
    online, settings = MemoryOnline(), StreamingSettings(fold_in=FoldInSettings(prior=5.0))
    with ExitStack() as stack:
        state = stack.enter_context(closing(SqliteState(tmp_path / "state.sqlite")))
        model = FakeModel(space=SPACE, items={item.item_id: item for item in BUNDLE})
        publisher = Publisher(log, online, state, model, StreamMetrics(), lambda: NOW, settings)
        replicas = [Replica(log, stack) for _ in range(2)]

        def publish(updates: Updates) -> None:
            state.commit(0, state.load(0, (), ()).version, updates, {})
            publisher.publish(updates)
            ends = log.ends([ITEM_EMBEDDINGS])
            wait_until(
                lambda: all(each.follower.has_applied(ends) for each in replicas), seconds=30
            )

        def held(item: Item) -> list[float]:
            """Return the item's embedding in the online store, which all replicas must have."""
            (stored,) = online.get(ItemEmbedding, [item.item_id])
            assert [each.has(item, stored.vector) for each in replicas] == [True] * len(replicas)
            return list(stored.vector)

        new = Item(item_id=SENT, title="kettle")
        changed = new.model_copy(update={"title": "copper kettle"})
        publish(Updates(items={SENT: new}))
        of_new = held(new)
        publish(Updates(items={SENT: changed}))
        of_changed = held(changed)
        assert of_changed != of_new
        publish(Updates(fold_in={key: FoldIn(key, "v1", 1, 2.0, np.ones(3)) for key in MOVED}))
        moved = [held(changed), held(BUNDLE[0])]
        assert moved[0] != of_changed
        assert moved[1] != HashEncoder().encode_candidates(BUNDLE, NOW)[0].tolist()
        # Whoever starts later has the same.
        replicas.append(Replica(log, stack))
        publish(Updates(items={"i2": Item(item_id="i2")}))
        assert [held(changed), held(BUNDLE[0])] == moved
        publish(Updates(items={SENT: None}))
        assert all(each.lacks(SENT) for each in replicas)
