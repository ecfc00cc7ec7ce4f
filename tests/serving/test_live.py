"""Items and bundles that change while the shop is open."""

import gc
import os
import shutil
import threading
import time
import weakref
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.event_log import ITEM_EMBEDDINGS, LogRecord, Message, TopicPartition
from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.in_memory_online_features import InMemoryOnlineFeatures
from serving import bundle as bundles
from serving.bundle import Bundle, BundleError
from serving.bundle_loading import load_bundle
from serving.catalogue import Catalogue
from serving.index_follower import IndexFollower
from serving.item_changelog import (
    ChangelogError,
    ItemDeletion,
    ItemMove,
    ItemUpsert,
    decode_change,
    encode_change,
)
from serving.live_model import LiveModel, ModelHolder
from serving.published_bundles import published_versions, set_current
from serving.recommender import Recommender
from serving.reload import BundleWatcher, open_current
from serving.requests import Recommendation, RecommendRequest
from serving.settings import ServingSettings
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.trending import TrendingSource
from serving.text_embedding_cache import TextEmbeddingCache
from streaming.sqlite_log import SqliteLog
from tests.support.tiny_bundle import CREATED_AT, build_tiny_bundle, tiny_items

LATER = CREATED_AT + timedelta(days=1)


def record(message: Message, offset: int = 0) -> LogRecord:
    return LogRecord(TopicPartition(ITEM_EMBEDDINGS, 0), offset, *message)


class Shop:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalogue = Catalogue()
        self.holder: ModelHolder = open_current(folder, self.catalogue)
        settings, texts = ServingSettings(), TextEmbeddingCache()
        self.watcher = BundleWatcher(
            folder, self.holder, self.catalogue, settings, texts, clock=lambda: LATER
        )
        self.log = SqliteLog(folder / "log.sqlite")
        self.follower = IndexFollower(self.log, self.holder, self.catalogue, lambda: LATER)

    def embedding(self, item_id: str) -> np.ndarray:
        embeddings, found = self.holder.current.table.embeddings_of([item_id])
        assert found[0]
        return embeddings[0]

    def encoded(self, number: int) -> np.ndarray:
        item = tiny_items(1, number)
        return self.holder.current.encoder.encode_candidates(item, LATER)[0]

    def is_retrievable(self, item_id: str) -> bool:
        everything = self.holder.current.index.search(np.ones((1, 16), np.float32), 200)
        return self.catalogue.rows.rows_of([item_id])[0] in everything.rows[0]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    build_tiny_bundle(folder, tiny_items(62), seed=1, created_at=LATER)
    build_tiny_bundle(folder)
    return folder


@pytest.fixture
def shop(built: Path, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(Path(shutil.copytree(built, tmp_path / "bundles")))
    yield shop
    shop.follower.stop()
    shop.watcher.stop()
    shop.log.close()


def upsert(number: int, version: str, **changes: object) -> ItemUpsert:
    item = tiny_items(1, number)[0].model_copy(update=changes)
    return ItemUpsert(item, np.full(16, number, np.float32), version)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)), st.text(max_size=20))
def test_a_change_is_read_back_as_written(vector: list[float], title: str) -> None:
    change = upsert(3, "v", title=title.encode("utf-8", "ignore").decode())
    change = ItemUpsert(change.item, np.array(vector, np.float32), "v")
    read = decode_change(record(encode_change(change)))
    assert isinstance(read, ItemUpsert)
    assert (read.item, read.bundle_version) == (change.item, "v")
    assert read.embedding.tolist() == change.embedding.tolist()
    assert decode_change(record(encode_change(ItemDeletion("i3")))) == ItemDeletion("i3")
    move = decode_change(record(encode_change(ItemMove("i1", change.embedding, "v"))))
    assert isinstance(move, ItemMove)
    assert (move.item_id, move.bundle_version) == ("i1", "v")
    assert move.embedding.tolist() == change.embedding.tolist()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Message(None, b"{}"), "has no key"),
        (Message("i1", b"{"), "is no item change"),
        (Message("i1", b"[]"), "is no item change"),
        (Message("i1", b'{"item":{"item_id":"i1"},"embedding":"AAA=","bundle_version":"v"}'), "is"),
        (Message("i2", encode_change(upsert(1, "v")).value), "holds another item: 'i1'"),
        (
            encode_change(ItemUpsert(tiny_items(1)[0], np.array([np.inf], dtype=np.float32), "v")),
            "not finite",
        ),
    ],
)
def test_what_is_no_change_is_refused_by_place(message: Message, reason: str) -> None:
    with pytest.raises(ChangelogError, match=f"record item-embeddings/0@7 .*{reason}"):
        decode_change(record(message, 7))


def test_the_changelog_reaches_index_and_catalogue(shop: Shop) -> None:
    version = shop.holder.current.bundle_version
    shop.log.append(
        ITEM_EMBEDDINGS,
        [
            encode_change(upsert(70, version)),
            encode_change(upsert(71, "older bundle")),
            Message("i72", b"nonsense"),
            encode_change(upsert(1, "older bundle")),  # as it is in the bundle
            encode_change(upsert(2, "older bundle", title="lamps lamps")),
            encode_change(ItemDeletion("i3")),
        ],
    )
    assert not shop.follower.caught_up
    before = shop.embedding("i1"), shop.embedding("i2")
    shop.follower.start()
    end = time.monotonic() + 20
    while not shop.follower.caught_up and time.monotonic() < end:
        time.sleep(0.01)
    assert shop.follower.caught_up
    assert shop.embedding("i70").tolist() == [70.0] * 16
    assert shop.embedding("i71") == pytest.approx(shop.encoded(71), abs=1e-6)
    assert shop.embedding("i1").tolist() == before[0].tolist()
    assert shop.embedding("i2") != pytest.approx(before[1], abs=1e-3)
    assert shop.catalogue.get("i2").title == "lamps lamps"  # type: ignore[union-attr]
    assert shop.catalogue.get("i70") == tiny_items(1, 70)[0]
    assert shop.catalogue.get("i3") is None
    assert shop.is_retrievable("i71")
    assert not shop.is_retrievable("i3")
    assert shop.catalogue.get("i72") is None


def test_a_history_counts_an_item_of_a_second_ago(shop: Shop) -> None:
    history = UserHistory("u", (HistoryEvent(1, "e", "i70", "view", 0.0),))
    encoder = shop.holder.current.encoder
    nobody = encoder.encode_queries([UserHistory("u")])
    assert encoder.encode_queries([history]).tolist() == nobody.tolist()
    shop.follower.apply([record(encode_change(upsert(70, shop.holder.current.bundle_version)))])
    assert encoder.encode_queries([history])[0] == pytest.approx(np.full(16, 0.25), abs=1e-5)


def test_histories_are_encoded_alike_alone_and_together(shop: Shop) -> None:
    histories = [
        UserHistory(
            f"u{n}",
            tuple(HistoryEvent(m + 1, f"e{m}", f"i{m % 70}", "view", 0.0) for m in range(n)),
        )
        for n in (0, 1, 3, 9, 40, 150)
    ]
    encoder = shop.holder.current.encoder
    together = encoder.encode_queries(histories, ["", "red shoes", "", "", "", ""])
    for number, history in enumerate(histories):
        texts = ["red shoes"] if number == 1 else None
        alone = encoder.encode_queries([history], texts)
        assert alone[0] == pytest.approx(together[number], abs=1e-5)
    with pytest.raises(ValueError, match="`query_texts` must hold one text per history"):
        encoder.encode_queries(histories, ["one"])
    assert encoder.encode_queries([]).shape == (0, 16)
    assert encoder.encode_candidates([], LATER).shape == (0, 16)


def test_text_embeddings_outlive_the_process(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "texts.sqlite"
    cache = TextEmbeddingCache(file)
    vectors = np.random.default_rng(0).normal(size=(1200, 4)).astype(np.float32)
    texts = [f"text {number}" for number in range(1200)]
    cache.put("model", texts, vectors)
    cache.close()
    cache = TextEmbeddingCache(file)
    found = cache.get("model", [*texts[::-1], "unknown"])
    assert found[-1] is None
    assert np.array_equal(np.stack(found[:-1])[::-1], vectors)  # type: ignore[arg-type]
    assert cache.get("another model", texts[:2]) == [None, None]
    cache.close()


def test_a_new_bundle_takes_over_and_keeps_what_changed_since(shop: Shop) -> None:
    version = shop.holder.current.bundle_version
    shop.follower.apply(
        [
            record(encode_change(upsert(70, version))),
            record(encode_change(upsert(5, version, title="lamps lamps lamps"))),
            record(encode_change(ItemDeletion("i6"))),
        ]
    )
    assert shop.watcher.check() is False
    newest = published_versions(shop.folder)[-1]
    set_current(shop.folder, newest)
    old = shop.holder.current
    assert shop.watcher.check() is True
    assert shop.holder.current.bundle_version == newest != old.bundle_version
    # Known to the new bundle alone, to the changelog alone, changed, deleted.
    assert shop.catalogue.get("i61") == tiny_items(1, 61)[0]
    assert shop.embedding("i61") == pytest.approx(shop.encoded(61), abs=1e-5)
    assert shop.embedding("i70") == pytest.approx(shop.encoded(70), abs=1e-5)
    assert shop.catalogue.get("i5").title == "lamps lamps lamps"  # type: ignore[union-attr]
    assert shop.embedding("i5") != pytest.approx(shop.encoded(5), abs=1e-3)
    assert shop.catalogue.get("i6") is None
    assert not shop.is_retrievable("i6")
    assert shop.watcher.last_error is None


def test_a_swap_finds_what_a_worker_ahead_of_it_has_folded_in(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, newest = published_versions(shop.folder)
    assert shop.holder.current.bundle_version == old
    short = ItemUpsert(tiny_items(1, 9)[0], np.ones(3, np.float32), newest)
    changes: list[ItemUpsert | ItemDeletion] = [
        *(upsert(number, newest) for number in (1, 2, 3, 4, 70)),
        upsert(2, newest, price=5.0),
        ItemDeletion("i3"),
        upsert(4, old, title="lamps lamps lamps"),  # whose vector is of what it was before
        short,
    ]
    # One by one, as they may come.
    for change in changes:
        shop.follower.apply([record(encode_change(change))])
    assert shop.embedding("i1") != pytest.approx([1.0] * 16)
    assert shop.embedding("i70") == pytest.approx(shop.encoded(70), abs=1e-5)

    def load(path: Path) -> Bundle:
        shop.follower.apply([record(encode_change(upsert(5, newest)))])
        return load_bundle(path)

    monkeypatch.setattr("serving.reload.load_bundle", load)
    set_current(shop.folder, newest)
    assert shop.watcher.check()
    for number in (1, 2, 5, 70):
        assert shop.embedding(f"i{number}").tolist() == [float(number)] * 16
    assert shop.catalogue.get("i2").price == 5.0  # type: ignore[union-attr]
    assert not shop.is_retrievable("i3")
    lamps = shop.holder.current.encoder.encode_candidates([shop.catalogue.get("i4")], LATER)[0]  # type: ignore[list-item]
    assert shop.embedding("i4") == pytest.approx(lamps, abs=1e-5)
    assert shop.embedding("i9") == pytest.approx(shop.encoded(9), abs=1e-5)
    assert len(shop.holder.waiting) == 0

    # And back, when a worker has gone back before.
    shop.follower.apply([record(encode_change(upsert(6, old)))])
    set_current(shop.folder, old)
    assert shop.watcher.check()
    assert shop.embedding("i6").tolist() == [6.0] * 16


def test_the_model_before_is_freed_after_a_swap(shop: Shop) -> None:
    gc.disable()  # As seldom as in a server that has settled.
    try:
        before = weakref.ref(shop.holder.current.signatures["encode_query"])
        set_current(shop.folder, published_versions(shop.folder)[-1])
        assert shop.watcher.check()
        assert before() is not None
        shop.watcher.release()
        assert before() is None
    finally:
        gc.enable()


def test_no_request_frees_the_model_before(shop: Shop) -> None:
    asked = shop.holder.current
    before = weakref.ref(asked)
    set_current(shop.folder, published_versions(shop.folder)[-1])
    assert shop.watcher.check()
    del asked
    assert before() is not None
    shop.watcher.release()
    assert before() is None


def test_a_bundle_is_loaded_at_the_lowest_priority_and_swapped_at_the_usual(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    usual, loading = niceness(), list[int]()

    def observed(path: Path) -> Bundle:
        loading.append(niceness())
        return load_bundle(path)

    monkeypatch.setattr("serving.reload.load_bundle", observed)
    set_current(shop.folder, published_versions(shop.folder)[-1])
    assert shop.watcher.check()
    assert loading == [19]
    assert niceness() == usual


def test_a_bad_bundle_is_refused_while_the_old_one_serves(shop: Shop) -> None:
    newest = published_versions(shop.folder)[-1]
    damaged = shop.folder / newest / bundles.CANDIDATE_EMBEDDINGS
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1])
    set_current(shop.folder, newest)
    old = shop.holder.current
    assert shop.watcher.check() is False
    assert shop.holder.current is old
    assert "embeddings.npy" in (shop.watcher.last_error or "")
    refusal = shop.watcher.refusal or ""
    assert refusal.startswith(f"{newest}/{bundles.CANDIDATE_EMBEDDINGS}: ")
    assert str(shop.folder) not in refusal
    # It is not tried over and over; going back clears the error.
    assert shop.watcher.check() is False
    (shop.folder / "CURRENT").write_text("nonsense")
    assert shop.watcher.check() is False
    assert "CURRENT" in (shop.watcher.last_error or "")
    set_current(shop.folder, old.bundle_version)
    assert shop.watcher.check() is False
    assert shop.watcher.last_error is None
    assert shop.watcher.refusal is None


def test_a_bundle_of_a_newer_schema_is_refused_by_version(shop: Shop) -> None:
    newest = published_versions(shop.folder)[-1]
    manifest = shop.folder / newest / bundles.MANIFEST
    newer = orjson.loads(manifest.read_bytes()) | {"format": 3, "invented_later": True}
    manifest.write_bytes(orjson.dumps(newer))
    set_current(shop.folder, newest)
    assert shop.watcher.check() is False
    assert newest in (shop.watcher.last_error or "")
    assert "`format` must be 2. Received: 3" in (shop.watcher.last_error or "")


def test_every_list_is_of_one_model_while_models_are_swapped(shop: Shop) -> None:
    settings, online = ServingSettings(), InMemoryOnlineFeatures()
    online.push([UserHistory("u", (HistoryEvent(1, "e", "i7", "view", 0.0),))])
    recommender = Recommender(
        shop.holder,
        shop.catalogue,
        online,
        TrendingSource(shop.catalogue.rows, settings),
        CoVisitationSource(shop.catalogue.rows, settings),
        settings,
        lambda: LATER,
    )
    request = RecommendRequest("r", "u", limit=30, explain=True)
    models, expected = [shop.holder.current], {}
    bundle = load_bundle(shop.folder / published_versions(shop.folder)[-1])
    models.append(LiveModel.create(bundle, shop.catalogue.rows))
    for model in models:
        shop.holder.swap(model)
        expected[model.bundle_version] = recommender.recommend(request)
    assert len({answer.items for answer in expected.values()}) == 2
    answers: list[Recommendation] = []

    def ask() -> None:
        answers.extend(recommender.recommend(request) for _ in range(100))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for model in models:
            shop.holder.swap(model)
            time.sleep(0.001)
    assert len(answers) == 400
    assert {answer.model_version for answer in answers} == set(expected)
    assert all(answer == expected[answer.model_version] for answer in answers)


def test_without_a_bundle_nothing_opens(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="CURRENT: is missing"):
        open_current(tmp_path, Catalogue())
