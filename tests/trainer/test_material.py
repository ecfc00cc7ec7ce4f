"""What a training is given, and what it refuses before it does anything slow."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from structlog.testing import capture_logs

from feature_repo.archive import events_frame
from feature_repo.offline_features import OfflineFeatures
from feature_repo.schema import Event, Item
from serving.text_embedding_cache import TextEmbeddingCache
from tests.support import tiny_training as tiny
from tests.support.tiny_bundle import tiny_items
from trainer import learning
from trainer.lesson import Lesson
from trainer.material import read_material
from trainer.ranking.fitted_tables import fit_tables
from trainer.ranking.settings import RankerSettings
from trainer.settings import TextSettings, TrainingSettings
from trainer.text_tower import TextTower
from trainer.train import TrainingHooks


@pytest.mark.parametrize("rank", [0, 2])
def test_a_training_does_not_know_what_another_has_taught_the_text_tower(
    tmp_path: Path, preset: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    text = TextSettings(model=str(preset), max_tokens=16, lora_rank=rank)
    columns = tiny.tiny_interactions(users=4, events=4)
    cache = TextEmbeddingCache()
    shop = columns.frame(), columns.items, tiny.tiny_settings(text=text)
    of_shop = read_material(*shop, OfflineFeatures(tmp_path / "features"), cache)
    begun: list[list[np.ndarray]] = []

    def train(lesson: Lesson, tower: TextTower, hooks: TrainingHooks) -> None:
        begun.append([weight.numpy() for weight in tower.trainable_variables])
        for weight in tower.trainable_variables:
            weight.assign_add(tf.ones_like(weight))

    monkeypatch.setattr(learning, "train", train)
    for _ in range(2):
        of_shop.trained(of_shop.interactions)
    assert bool(begun[0]) == bool(rank)
    np.testing.assert_equal(begun[1], begun[0])
    # And so no embeddings of texts are those of the model that will serve.
    assert (of_shop.text_embeddings is None) == bool(rank)
    cache.close()


def test_lora_is_trained_under_a_strategy_as_without(tmp_path: Path, preset: Path) -> None:
    text = TextSettings(model=str(preset), max_tokens=16, lora_rank=2)
    columns, cache, losses = tiny.tiny_interactions(), TextEmbeddingCache(), []
    for strategy in ("default", "mirrored"):
        settings = tiny.tiny_settings(text=text, strategy=strategy, epochs=1)
        features = OfflineFeatures(tmp_path / strategy)
        shop = read_material(columns.frame(), columns.items, settings, features, cache)
        # The second tower is one of the same strategy, too.
        for _ in range(2):
            model = shop.trained(shop.interactions)
            losses.append(model.losses)
    np.testing.assert_allclose(losses[1:], [losses[0]] * 3, rtol=1e-3)
    cache.close()


def test_without_embeddings_of_texts_their_likeness_is_no_table() -> None:
    columns = tiny.tiny_interactions(users=4, events=4)
    assert set(fit_tables(columns, None, RankerSettings()).tables) == {"ease"}
    with_texts = fit_tables(columns, tiny.tiny_text_embeddings(), RankerSettings())
    assert set(with_texts.tables) == {"ease", "text"}


def test_a_shop_without_events_on_its_items_is_refused_before_a_text_is_embedded(
    tmp_path: Path,
) -> None:
    event = Event(
        event_id="e",
        user_id="u",
        item_id="of-another-shop",
        event_type="view",
        timestamp=datetime(2026, 5, 1, tzinfo=UTC),
    )
    # No model is there: to load it would be another error.
    settings = TrainingSettings(text=TextSettings(model=str(tmp_path / "no-model")))
    features, cache = OfflineFeatures(tmp_path / "features"), TextEmbeddingCache()
    for events, items, reason in (
        ([event], [], "the catalogue is empty.* riverrun import items FILE"),
        ([], tiny_items(3), "there are no events.* riverrun import events FILE"),
        ([event], tiny_items(3), "1 of 1 events are on no item.*'of-another-shop'.* 'i0'"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_material(events_frame(events), items, settings, features, cache)


@pytest.mark.parametrize(
    ("written", "known"),
    [("17", "0017"), ("i7.0", "i7"), ("i7-blue", "i7"), ("elsewhere", "i0")],
)
def test_how_many_events_are_on_no_item_is_said_with_ids_of_both(
    tmp_path: Path, preset: Path, written: str, known: str
) -> None:
    settings = tiny.tiny_settings(text=TextSettings(model=str(preset), max_tokens=16))
    items = [*tiny.tiny_items(), Item(item_id="0017")]
    events = tiny.tiny_interactions(users=4, events=4).frame()
    strays = events.head(6).with_columns(
        pl.format("stray{}", "event_id").alias("event_id"), item_id=pl.lit(written)
    )
    features, cache = OfflineFeatures(tmp_path / "features"), TextEmbeddingCache()
    for left_out in (strays, strays.clear()):
        with capture_logs() as logs:
            shop = read_material(pl.concat([events, left_out]), items, settings, features, cache)
        assert len(shop.interactions.item) == len(events)
        said = [line["reason"] for line in logs if line["event"] == "events_left_out"]
        assert (
            said
            == [
                f"6 of 22 events are on no item of the catalogue, e.g. {written!r}; "
                f"the catalogue has e.g. {known!r}."
            ][: len(left_out)]
        )
    cache.close()
