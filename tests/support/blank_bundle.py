"""A bundle of a model that has learned nothing, of a shop that has nothing."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson

from serving.bundle import MODEL, DataWindow, Manifest
from serving.bundle_writing import building, publish, write_candidates, write_items
from trainer.settings import TrainingSettings
from trainer.two_tower_model import blank_model
from trainer.warm_start import write_weights


def publish_start(bundles: Path, version: str, settings: TrainingSettings) -> None:
    """Publish a bundle that serves nobody, and that a training of these settings goes on from."""
    manifest = Manifest(
        version=version,
        created_at=datetime(2026, 5, 1, tzinfo=UTC),
        dimension=settings.dimension,
        max_history=settings.history_length,
        event_types=(),
        num_items=0,
        data_window=DataWindow(start=None, end=None, events=0),
        model={"settings": orjson.loads(settings.model_dump_json())},
    )
    nothing = np.zeros((0, settings.dimension), np.float32)
    with building(bundles, version) as folder:
        write_candidates(folder, [], nothing, np.zeros(0, np.int64))
        write_items(folder, [])
        (folder / MODEL).mkdir()
        (folder / MODEL / "saved_model.pb").touch()
        model = blank_model(settings, manifest.text_dimension)
        write_weights(folder, model, (), settings.text)
        publish(bundles, folder, manifest)
