"""What a training refuses before it does anything slow."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_repo.archive import events_frame
from feature_repo.offline_features import OfflineFeatures
from feature_repo.schema import Event
from serving.text_embedding_cache import TextEmbeddingCache
from tests.support.tiny_bundle import tiny_items
from trainer.material import read_material
from trainer.settings import TextSettings, TrainingSettings


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
        ([event], [], "the catalogue is empty"),
        ([], tiny_items(3), "import events first"),
        ([event], tiny_items(3), "import events first"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_material(events_frame(events), items, settings, features, cache)
