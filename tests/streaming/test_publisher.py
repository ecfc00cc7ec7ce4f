"""Publishing a moved embedding never brings an older item back, whoever changes it meanwhile."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from feature_repo.event_log import ITEM_EMBEDDINGS
from feature_repo.online_features import CoVisitation, FeatureRecord, ItemEmbedding, ItemStatistics
from feature_repo.schema import Item
from serving.item_changelog import ItemDeletion, ItemMove, ItemUpsert, decode_change
from streaming.fold_in import FoldIn, moved
from streaming.metrics import StreamMetrics
from streaming.publisher import Publisher
from streaming.settings import FoldInSettings, StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.stream_state import OpenState
from streaming.updates import Updates
from tests.support.stream import NOW, SPACE, FakeModel, HashEncoder, MemoryOnline

OLD = Item(item_id="i0", title="kettle", price=5.0)
NEW = Item(item_id="i0", title="kettle", price=9.0)
LATER = Item(item_id="i0", title="copper kettle", price=9.0)
IMPORTED = Item(item_id="i1", title="lamp")
SUMS = {"i0": FoldIn("i0", "v1", 1, 2.0, np.ones(3))}
SETTINGS = StreamingSettings(fold_in=FoldInSettings(prior=5.0))


class DisturbedEncoder(HashEncoder):
    """Meanwhile another worker does something: at each encoding the next of `others`."""

    def __init__(self, others: Sequence[Callable[[], None]]) -> None:
        self._others = iter(others)

    def encode_candidates(self, items: Sequence[Item], at: datetime) -> np.ndarray:
        next(self._others, lambda: None)()
        return super().encode_candidates(items, at)


class Shop:
    """The log, the store and the state that two workers share."""

    def __init__(self, folder: Path) -> None:
        self.log = SqliteLog(folder / "log.sqlite")
        self.state: OpenState = SqliteState(folder / "state.sqlite")
        self.online = MemoryOnline()

    def publisher(self, encoder: HashEncoder, settings: StreamingSettings = SETTINGS) -> Publisher:
        return Publisher(
            self.log,
            self.online,
            self.state,
            FakeModel(encoder, SPACE, {"i0": OLD, "i1": IMPORTED}),
            StreamMetrics(),
            lambda: NOW,
            settings,
        )

    def change(self, item: Item | None) -> None:
        """Let the worker that has the item's partition commit and publish a change."""
        updates = Updates(items={"i0": item})
        self.state.commit(0, self.state.load(0, (), ()).version, updates, {})
        self.publisher(HashEncoder()).publish(updates)

    def move(self, *others: Callable[[], None]) -> None:
        """Let a worker that has events of the item publish its moved embedding."""
        self.publisher(DisturbedEncoder(others)).publish(Updates(fold_in=SUMS))

    def assert_readers_have(self, item: Item | None) -> None:
        """The changelog's last word and the store are of `item`, with its moved embedding."""
        *_, record = self.log.consumer(None, [ITEM_EMBEDDINGS]).poll(1_000, 0.0)
        change = decode_change(record)
        (embedding,) = self.online.get(ItemEmbedding, ["i0"])
        assert self.online.get(Item, ["i0"]) == [item]
        if item is None:
            assert change == ItemDeletion("i0")
            assert embedding is None
            return
        assert isinstance(change, ItemUpsert)
        assert change.item == item
        for vector in (change.embedding, embedding.vector):
            np.testing.assert_array_equal(vector, moved_vector(item))


def moved_vector(item: Item) -> np.ndarray:
    vectors = HashEncoder().encode_candidates([item], NOW)
    return moved(vectors, [item.item_id], SUMS, SPACE, SETTINGS.fold_in)[0]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    shop.change(OLD)
    yield shop
    shop.state.close()
    shop.log.close()


def test_a_moved_embedding_is_published_with_its_item(shop: Shop) -> None:
    shop.move()
    shop.assert_readers_have(OLD)


@pytest.mark.parametrize("item", [NEW, LATER, None], ids=["price", "title", "deletion"])
def test_a_change_that_comes_meanwhile_is_the_last_word(shop: Shop, item: Item | None) -> None:
    shop.move(lambda: shop.change(item))
    shop.assert_readers_have(item)


@pytest.mark.parametrize("item", [LATER, None], ids=["title", "deletion"])
def test_so_is_one_that_comes_while_that_is_mended(shop: Shop, item: Item | None) -> None:
    shop.move(lambda: shop.change(NEW), lambda: shop.change(item))
    shop.assert_readers_have(item)


def test_an_item_that_comes_back_while_its_deletion_is_repeated_is_there(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete_after_it_came_back(view: type, keys: Sequence[str]) -> None:
        monkeypatch.undo()
        shop.change(NEW)
        shop.online.delete(view, keys)

    def delete() -> None:
        shop.change(None)
        monkeypatch.setattr(shop.online, "delete", delete_after_it_came_back)

    shop.move(delete)
    shop.assert_readers_have(NEW)


def test_an_item_that_was_deleted_is_not_moved(shop: Shop) -> None:
    shop.change(None)
    shop.move()
    shop.assert_readers_have(None)


def test_an_item_that_comes_back_has_its_statistics_and_neighbours_still(shop: Shop) -> None:
    """Its statistics are told when an event changes them, and none does when it comes back."""
    learned: list[FeatureRecord] = [
        ItemStatistics("i0", 5, ("view",), (1.0,), (1.0,), (1.0,)),
        CoVisitation("i0", 5, ("i1",), (1.0,)),
    ]
    shop.online.push(learned)
    shop.change(None)
    shop.change(NEW)
    assert [shop.online.get(type(each), ["i0"])[0] for each in learned] == learned


OF_IMPORTED = Updates(fold_in={"i1": FoldIn("i1", "v1", 1, 2.0, np.ones(3))})


def test_of_an_item_that_was_never_sent_the_embedding_alone_is_published(shop: Shop) -> None:
    shop.publisher(HashEncoder()).publish(OF_IMPORTED)
    *_, record = shop.log.consumer(None, [ITEM_EMBEDDINGS]).poll(1_000, 0.0)
    change = decode_change(record)
    assert isinstance(change, ItemMove)
    (stored,) = shop.online.get(ItemEmbedding, ["i1"])
    np.testing.assert_array_equal(change.embedding, stored.vector)
    assert shop.online.get(Item, ["i1"]) == [None]


@pytest.mark.parametrize("item", [IMPORTED.model_copy(update={"price": 3.0}), None])
def test_one_that_is_sent_meanwhile_is_the_last_word(shop: Shop, item: Item | None) -> None:
    def send() -> None:
        updates = Updates(items={"i1": item})
        shop.state.commit(0, shop.state.load(0, (), ()).version, updates, {})
        shop.publisher(HashEncoder()).publish(updates)

    shop.publisher(DisturbedEncoder([send])).publish(OF_IMPORTED)
    *_, record = shop.log.consumer(None, [ITEM_EMBEDDINGS]).poll(1_000, 0.0)
    change = decode_change(record)
    assert shop.online.get(Item, ["i1"]) == [item]
    if item is None:
        assert change == ItemDeletion("i1")
    else:
        assert isinstance(change, ItemUpsert)
        assert change.item == item


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_where_fold_in_is_off_the_sums_of_before_move_nothing(shop: Shop, weight: float) -> None:
    sums = FoldIn("i1", "v1", 1, weight, weight * np.ones(3))
    shop.state.commit(0, shop.state.load(0, (), ()).version, Updates(fold_in={"i1": sums}), {})
    changed = Updates(items={"i1": IMPORTED})
    shop.state.commit(0, shop.state.load(0, (), ()).version, changed, {})
    updates = shop.state.unpushed(0).updates
    assert updates.fold_in["i1"].weight == weight
    off = shop.publisher(HashEncoder(), StreamingSettings(fold_in=FoldInSettings(prior=0.0)))
    (embedding,) = off.append_items({"i1": IMPORTED}, updates.fold_in)
    unmoved = HashEncoder().encode_candidates([IMPORTED], NOW)
    np.testing.assert_array_equal([embedding.vector], unmoved)
