"""The trainings of a replay leave no more on the disk than what serves has use for."""

from datetime import timedelta
from pathlib import Path

import pytest

from riverrun.replay.training import RefreshTrainer, ReplayTraining
from serving.published_bundles import published_versions
from serving.text_embedding_cache import TextEmbeddingCache
from tests.support import tiny_training as tiny
from tests.support.tiny_bundle import build_tiny_bundle
from tests.support.tiny_refresh import NOW, events
from trainer.ranking.service_settings import ServiceSettings
from trainer.ranking.settings import RankerSettings
from trainer.settings import TextSettings

pytestmark = pytest.mark.slow


def test_a_bundle_goes_once_another_has_taken_its_place(tmp_path: Path) -> None:
    text = TextSettings(model=str(tiny.tiny_preset(tmp_path / "bert")), max_tokens=16)
    settings = tiny.tiny_settings(
        text=text,
        epochs=1,
        transformer_layers=0,
        holdout_share=0.0,
        ranking=RankerSettings(enabled=False),
    )
    first, cache = build_tiny_bundle(tmp_path / "first"), TextEmbeddingCache()
    training = ReplayTraining(settings, ServiceSettings(), cache)
    train = RefreshTrainer(training, tmp_path / "replay", first, warm=False)
    before = first
    for hour in (12, 13, 14):
        now = train(events(0, hour), tiny.tiny_items(), NOW + timedelta(hours=hour))
        # The one before serves until this one is loaded.
        assert published_versions(now.parent) == [before.name, now.name]
        before = now
    cache.close()
