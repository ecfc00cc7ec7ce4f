"""A shop to refresh in this process: a BERT of one layer, towers of a few weights."""

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from feature_repo.archive import events_frame
from feature_repo.offline_features import OfflineFeatures
from feature_repo.schema import Event, Item
from serving.published_bundles import published_versions
from serving.text_embedding_cache import TextEmbeddingCache
from tests.support import tiny_training as tiny
from trainer.listener import Listener
from trainer.ranking.service_settings import ServiceSettings
from trainer.refresh.bundle_versions import readable_current
from trainer.refresh.gate_settings import GateSettings
from trainer.refresh.inputs import RefreshInputs
from trainer.refresh.refresh import RefreshOutcome, refresh
from trainer.refresh.resuming import RefreshCheckpoint, RunCheckpoint, TrainingCheckpoint
from trainer.refresh.runs_file import RunsFile
from trainer.refresh.steps import TrainingSteps
from trainer.settings import TextSettings, TrainingSettings, WarmStartSettings

NOW = datetime(2026, 5, 1, tzinfo=UTC)
GATES = GateSettings(min_users=0, max_loss={})
ANY_LOSS = GATES.model_copy(update={"max_loss": {"all/ndcg@10": 1.0}})
"""Gates that compare a model with the current bundle, and refuse none."""
USERS = 30


def events(first: int, last: int) -> pl.DataFrame:
    """What everybody does in these hours: whoever views item k views item k + 1 next."""
    starts = np.random.default_rng(0).integers(tiny.NUM_ITEMS, size=USERS)
    return events_frame(
        [
            Event(
                event_id=f"e{user}-{hour}",
                user_id=f"u{user:03}",
                item_id=f"i{(starts[user] + hour) % tiny.NUM_ITEMS}",
                event_type="view",
                timestamp=tiny.START + timedelta(hours=hour),
            )
            for user in range(USERS)
            for hour in range(first, last)
        ]
    )


class TinyRefresh:
    def __init__(self, folder: Path, preset: Path) -> None:
        self.preset = preset
        self.bundles = folder / "bundles"
        self.checkpoints = folder / "training"
        self.features = OfflineFeatures(folder / "features")
        self.cache = TextEmbeddingCache()
        self.settings = tiny.tiny_settings(
            epochs=2,
            transformer_layers=0,
            text=TextSettings(model=str(preset), max_tokens=16),
            warm_start=WarmStartSettings(epochs=1, min_users=10),
        )
        self.day = 0

    def run(self, run_id: str = "run", runs: RunsFile | None = None) -> RunCheckpoint:
        """Return the checkpoint of the run of this id, as its earlier tries have left it."""
        return RunCheckpoint(self.checkpoints, runs or RunsFile(self.bundles), run_id)

    def served(self, *untils: int) -> list[Path]:
        """Publish the bundles of `refreshed`, of the events until these hours, the last serving.

        They are made once for all tests of a process that begin with them.
        """
        made = Path(_made(self.preset, untils).name)
        shutil.copytree(made / "bundles", self.bundles, dirs_exist_ok=True)
        self.day += len(untils)
        return [self.bundles / version for version in published_versions(self.bundles)]

    def refreshed(
        self,
        until: int,
        items: Sequence[Item] | None = None,
        *,
        events_read: pl.DataFrame | None = None,
        settings: TrainingSettings | None = None,
        gates: GateSettings | None = None,
        listener: Listener | None = None,
        checkpoint: RefreshCheckpoint | None = None,
        service: ServiceSettings | None = None,
        latest: Callable[[], Sequence[Item]] | None = None,
    ) -> RefreshOutcome:
        """Refresh with the events `until` an hour; as `riverrun train` does, unless it is a run."""
        self.day += 1
        inputs = RefreshInputs(
            items=tiny.tiny_items() if items is None else items,
            settings=settings or self.settings,
            bundles=self.bundles,
            current=readable_current(self.bundles),
            features=self.features,
            text_cache=self.cache,
            now=NOW + timedelta(days=self.day),
            service=service or ServiceSettings(),
            gates=gates,
            latest=latest,
        )
        return refresh(
            events(0, until) if events_read is None else events_read,
            inputs,
            TrainingSteps(inputs, listener),
            checkpoint or TrainingCheckpoint(self.checkpoints),
        )


@cache
def _made(preset: Path, untils: tuple[int, ...]) -> "TemporaryDirectory[str]":
    """Return the folder of a shop that was refreshed so. It lives as long as the process."""
    folder = TemporaryDirectory()
    shop = TinyRefresh(Path(folder.name), preset)
    if len(untils) > 1:
        shop.served(*untils[:-1])
    shop.refreshed(untils[-1])
    shop.cache.close()
    return folder
