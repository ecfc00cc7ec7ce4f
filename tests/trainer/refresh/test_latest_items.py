"""Items that came, changed or went while a refresh trained are so in the bundle it publishes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from feature_repo.schema import Item
from serving.bundle import CANDIDATE_IDS, Bundle, read_ids, read_items
from serving.bundle_loading import load_bundle
from serving.item_rows import ItemRows
from serving.live_model import LiveModel
from serving.published_bundles import current_version, published_versions
from serving.ranking.bundle_files import read_ranking
from serving.saved_model_encoder import SavedModelEncoder
from serving.signatures import ENCODE_QUERY, RECOMMEND
from serving.text_embedding_cache import TextEmbeddingCache
from tests.support import tiny_training as tiny
from tests.support.tiny_refresh import (
    CHECKING,
    EXPORTING,
    GATES,
    UNTIL,
    USERS,
    KilledError,
    TinyRefresh,
    kill_at,
)
from trainer.listener import Listener
from trainer.refresh.notes import NotedStart
from trainer.refresh.runs_file import LOG_AWAY, Run, RunsFile
from trainer.warm_start import WarmStart

pytestmark = pytest.mark.slow

NEW, CHANGED, DELETED = "a-new-one", "i5", "i6"


def changed(items: Sequence[Item]) -> list[Item]:
    """Return the catalogue with an item more, one that is another now, and one less."""
    others = [item for item in items if item.item_id not in (CHANGED, DELETED)]
    lamp = next(item for item in items if item.item_id == "i3")
    now = lamp.model_copy(update={"item_id": CHANGED, "price": 19.0})
    return [lamp.model_copy(update={"item_id": NEW}), now, *others]


def call(bundle: Bundle, signature: str, *item_ids: str) -> dict[str, np.ndarray]:
    """Ask about one history of views."""
    arguments: dict[str, Any] = {
        "item_ids": np.array([item_ids], str).reshape(1, -1),
        "event_types": [["view"] * len(item_ids)],
        "timestamps": np.arange(1, len(item_ids) + 1, dtype=np.int64)[None] * 10**15,
        "query_text": [""],
    }
    tensors = {name: tf.constant(value) for name, value in arguments.items()}
    return {name: out.numpy() for name, out in bundle.signatures[signature](**tensors).items()}


@pytest.fixture(scope="module")
def published(
    preset: Path, embedded: TextEmbeddingCache, tmp_path_factory: pytest.TempPathFactory
) -> TinyRefresh:
    """A shop whose items have changed while a refresh trained."""
    shop = TinyRefresh(tmp_path_factory.mktemp("published"), preset, embedded)
    shop.killed(EXPORTING)
    shop.ran(UNTIL, latest=lambda: changed(tiny.tiny_items()))
    return shop


def test_they_are_in_the_model_the_candidates_and_the_tables(published: TinyRefresh) -> None:
    items = changed(tiny.tiny_items())
    newest = published_versions(published.bundles)[-1]
    assert current_version(published.bundles) == newest
    bundle = load_bundle(published.bundles / newest)
    ids = bundle.candidate_ids
    assert list(bundle.items()) == items
    assert ids == [item.item_id for item in items]
    # They stand where a server would put them that was sent them.
    nothing = np.zeros((0, bundle.manifest.dimension), np.float32), np.zeros(0, bool)
    encoder = SavedModelEncoder(bundle, lambda _: nothing, published.cache)
    end = bundle.manifest.data_window.end
    assert end is not None
    expected = encoder.encode_candidates(items, end)
    np.testing.assert_allclose(bundle.candidate_embeddings, expected, atol=1e-5)
    # The model's own list: of so few items it holds all.
    best = call(bundle, RECOMMEND, "i1", NEW)["item_ids"][0]
    assert sorted(best.astype(str)) == sorted(ids)
    without = call(bundle, ENCODE_QUERY, "i1")["embeddings"]
    with_deleted = call(bundle, ENCODE_QUERY, "i1", DELETED)["embeddings"]
    np.testing.assert_allclose(with_deleted, without, atol=1e-6)
    assert not np.allclose(call(bundle, ENCODE_QUERY, "i1", NEW)["embeddings"], without)
    counts = dict(zip(ids, bundle.candidate_counts.tolist(), strict=True))
    assert (counts[NEW], sum(counts.values()) > 0) == (0, True)
    assert bundle.manifest.data_window.events == USERS * UNTIL
    assert sum(counts.values()) < USERS * UNTIL  # those on what is deleted
    rows = ItemRows(ids)
    ranking = read_ranking(bundle, rows)
    assert ranking is not None
    LiveModel.create(bundle, rows, text_cache=published.cache)
    starts, neighbours = (
        np.load(bundle.path / "ranking" / "text" / f"{name}.npy")
        for name in ("starts", "neighbours")
    )
    row = ids.index(NEW)
    assert {ids[each] for each in neighbours[starts[row] : starts[row + 1]]} >= {"i3", CHANGED}


def test_the_next_refresh_goes_on_from_such_a_bundle(
    shop: TinyRefresh, published: TinyRefresh
) -> None:
    shop.begin_as(published.folder)
    bundle = shop.bundles / str(current_version(shop.bundles))
    known = [item.item_id for item in tiny.tiny_items()]
    start = WarmStart.read(bundle, shop.settings)
    assert list(start.vocabulary.item_ids) == known != read_ids(bundle / CANDIDATE_IDS)
    with pytest.raises(KilledError):
        shop.ran(UNTIL + 10, "next", items=changed(tiny.tiny_items()), listener=kill_at(EXPORTING))
    notes = shop.run("next").notes
    assert (notes.start, notes.choice is None) == (NotedStart(bundle.name, ""), False)


def test_all_may_have_been_replaced(shop: TinyRefresh) -> None:
    others = [item.model_copy(update={"item_id": f"x{item.item_id}"}) for item in tiny.tiny_items()]
    shop.killed(EXPORTING)
    done = shop.refreshed(UNTIL, checkpoint=shop.run(), latest=lambda: others)
    assert read_ids(done.bundle / CANDIDATE_IDS) == [item.item_id for item in others]
    LiveModel.create(load_bundle(done.bundle), ItemRows(), text_cache=shop.cache)


def cheaper(items: Sequence[Item]) -> list[Item]:
    return [item.model_copy(update={"price": 1.0}) for item in items]


@pytest.mark.parametrize(
    ("stage", "change"), [(EXPORTING, changed), (CHECKING, changed), (CHECKING, cheaper)]
)
def test_killed_before_it_serves_it_goes_on_with_what_has_changed_since(
    shop: TinyRefresh, stage: str, change: Callable[[Sequence[Item]], list[Item]]
) -> None:
    """What it was trained on is what it was, so nothing is trained again."""
    shop.killed(stage)
    steps: list[object] = []
    items = change(tiny.tiny_items())
    done = shop.refreshed(
        UNTIL,
        items,
        gates=GATES,
        checkpoint=shop.run(),
        listener=Listener(step=steps.append),
        latest=lambda: items,
    )
    assert list(read_items(done.bundle)) == items
    assert current_version(shop.bundles) == done.bundle.name
    assert not steps


def test_a_log_that_is_away_fails_the_run_and_the_next_goes_on_with_it(shop: TinyRefresh) -> None:
    before = shop.killed(EXPORTING)
    steps: list[object] = []

    def away() -> Sequence[Item]:
        raise ConnectionError(f"{LOG_AWAY}: no broker answers")

    def refreshed(latest: Callable[[], Sequence[Item]]) -> Run:
        return shop.ran(UNTIL, None, listener=Listener(step=steps.append), latest=latest)

    with pytest.raises(ConnectionError):
        refreshed(away)
    (failed,) = RunsFile(shop.bundles).all()
    assert failed.status == "failed"
    assert current_version(shop.bundles) == before.name
    assert not list(shop.bundles.glob(".building-*"))
    run = refreshed(tiny.tiny_items)
    assert (run.run_id, run.status) == (failed.run_id, "published")
    assert not steps
    assert current_version(shop.bundles) == run.version
