"""A refresh whose training tunes the text tower, so that no text is embedded before it."""

from pathlib import Path

import pytest

from feature_repo.schema import Item
from serving.bundle import CANDIDATE_IDS, read_ids, read_manifest
from serving.text_embedding_cache import TextEmbeddingCache
from tests.support import tiny_training as tiny
from tests.support.tiny_refresh import GATES, TinyRefresh
from trainer.refresh.refresh import RefreshOutcome

pytestmark = pytest.mark.slow

ITEMS = [Item(item_id="new", title="lamp 3"), *tiny.tiny_items()[1:]]
"""The catalogue as of the end of the training: an item came, and one went."""


@pytest.fixture(scope="module")
def done(
    preset: Path, embedded: TextEmbeddingCache, tmp_path_factory: pytest.TempPathFactory
) -> RefreshOutcome:
    shop = TinyRefresh(tmp_path_factory.mktemp("shop"), preset, embedded)
    text = shop.settings.text.model_copy(update={"lora_rank": 2})
    settings = shop.settings.model_copy(update={"text": text})
    return shop.refreshed(12, settings=settings, gates=GATES, latest=lambda: ITEMS)


def test_nothing_is_told_of_texts_that_only_the_model_reads(done: RefreshOutcome) -> None:
    assert done.rows
    assert not any("diversity@10" in row.metrics for row in done.rows)
    ranking = read_manifest(done.bundle).ranking
    assert ranking is not None
    assert "text" not in ranking.tables


def test_the_tuned_tower_reads_what_came_meanwhile(done: RefreshOutcome) -> None:
    assert read_ids(done.bundle / CANDIDATE_IDS) == [item.item_id for item in ITEMS]
