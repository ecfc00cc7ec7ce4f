"""The trainings of a replay learn from all its past, and leave no more on the disk than needed."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from riverrun.replay.questions import last_events_period
from riverrun.replay.training import RefreshTrainer, ReplayTraining
from serving.bundle import read_manifest
from serving.published_bundles import published_versions
from serving.text_embedding_cache import TextEmbeddingCache
from tests.support import tiny_training as tiny
from tests.support.step_by_step import step_by_step
from tests.support.tiny_bundle import build_tiny_bundle
from tests.support.tiny_refresh import NOW, events
from trainer.listener import Listener
from trainer.ranking.service_settings import ServiceSettings
from trainer.ranking.settings import RankerSettings
from trainer.settings import TextSettings, TrainingSettings

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def _step_by_step() -> Iterator[None]:
    with step_by_step():
        yield


def settings(folder: Path) -> TrainingSettings:
    return tiny.tiny_settings(
        text=TextSettings(model=str(tiny.tiny_preset(folder / "bert")), max_tokens=16),
        epochs=1,
        transformer_layers=0,
        holdout_share=0.0,
        ranking=RankerSettings(enabled=False),
    )


def test_a_past_that_ends_later_for_some_users_is_learned_to_its_end(tmp_path: Path) -> None:
    user = pl.col("user_id").str.slice(1).cast(pl.Int64)
    in_turn = events(0, 12).with_columns(pl.col("timestamp") + pl.duration(days=user))
    period = last_events_period(in_turn, tiny.tiny_items())
    assert period.start < period.known_until
    cache = TextEmbeddingCache()
    training = ReplayTraining(settings(tmp_path), ServiceSettings(), cache)
    bundle = training.on_past(period, tmp_path / "replay", Listener())
    assert read_manifest(bundle).data_window.end == period.known_until
    cache.close()


def test_a_bundle_goes_once_another_has_taken_its_place(tmp_path: Path) -> None:
    first, cache = build_tiny_bundle(tmp_path / "first"), TextEmbeddingCache()
    training = ReplayTraining(settings(tmp_path), ServiceSettings(), cache)
    train = RefreshTrainer(training, tmp_path / "replay", first, warm=False)
    before = first
    for hour in (12, 13, 14):
        now = train(events(0, hour), tiny.tiny_items(), NOW + timedelta(hours=hour))
        # The one before serves until this one is loaded.
        assert published_versions(now.parent) == [before.name, now.name]
        before = now
    cache.close()
