"""A shop to refresh in this process: a BERT of one layer, towers of a few weights."""

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pytest

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
from trainer.refresh.running import run_refresh
from trainer.refresh.runs_file import Run, RunsFile
from trainer.refresh.steps import TrainingSteps
from trainer.settings import TextSettings, TrainingSettings, WarmStartSettings
from trainer.train import Progress

NOW = datetime(2026, 5, 1, tzinfo=UTC)
GATES = GateSettings(min_users=0, max_loss={})
ANY_LOSS = GATES.model_copy(update={"max_loss": {"all/ndcg@10": 1.0}})
"""Gates that compare a model with the current bundle, and refuse none."""
UNJUDGED: dict[str, Any] = {"holdout_share": 0.0, "epochs": 1}
"""Changed settings of a training that nothing is held out of, where a test only needs a bundle."""
USERS = 30
BEFORE, UNTIL = 15, 30
"""Hours of events that the bundle which serves has learned from, and the refresh after it."""
JUDGING, TRAINING, EXPORTING, CHECKING = (
    "Training, the newest events held out",
    "Training on everything",
    "Exporting",
    "Checking the bundle",
)
"""The stages of a refresh after texts are embedded."""
_STAGES = (JUDGING, TRAINING, EXPORTING, CHECKING)


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


class KilledError(BaseException):
    pass


def kill_at(stage: str, on_step: Callable[[Progress], None] = lambda progress: None) -> Listener:
    """Return a listener that kills a refresh as this stage begins."""

    def kill(title: str) -> None:
        if title == stage:
            raise KilledError

    return Listener(kill, step=on_step)


class TinyRefresh:
    """cache: embeddings of texts, of other shops too; by default none is embedded yet."""

    def __init__(self, folder: Path, preset: Path, cache: TextEmbeddingCache | None = None) -> None:
        self.folder = folder
        self.preset = preset
        self.bundles = folder / "bundles"
        self.checkpoints = folder / "training"
        self.features = OfflineFeatures(folder / "features")
        self.cache = cache or TextEmbeddingCache()
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

    def served(self) -> Path:
        """Publish the bundle of the events until `BEFORE`, which serves.

        It is made once for all tests of a process.
        """
        self.begin_as(Path(_served(self.preset, self.cache).name))
        (version,) = published_versions(self.bundles)
        return self.bundles / version

    def killed(self, stage: str) -> Path:
        """Begin the run of the events until `UNTIL`, killed as `stage` begins; return what serves.

        That is the bundle of `served`. It is done once for all tests of a process, of a later stage
        by going on from an earlier one.
        """
        self.begin_as(Path(_killed(self.preset, self.cache, stage).name))
        return self.bundles / published_versions(self.bundles)[0]

    def begin_as(self, folder: Path) -> None:
        """Take over what the shop of this folder has published, and what it goes on with."""
        for mine in (self.bundles, self.checkpoints):
            if (folder / mine.name).exists():
                shutil.copytree(folder / mine.name, mine, dirs_exist_ok=True)
        self.day += 1

    def ran(self, until: int, run_id: str | None = "run", **options: Any) -> Run:
        """Refresh as `riverrun refresh` does, with the options of `refreshed`."""

        def work(checkpoint: RefreshCheckpoint, begin: Callable[[str], None]) -> RefreshOutcome:
            return self.refreshed(until, checkpoint=checkpoint, **{"gates": GATES, **options})

        run, _ = run_refresh(
            self.bundles, self.checkpoints, run_id, work, keep=5, clock=lambda: NOW
        )
        return run

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
def _served(preset: Path, texts: TextEmbeddingCache) -> "TemporaryDirectory[str]":
    """Return the folder of a shop that was refreshed so. It lives as long as the process."""
    folder = TemporaryDirectory()
    TinyRefresh(Path(folder.name), preset, texts).refreshed(BEFORE)
    return folder


@cache
def _killed(preset: Path, texts: TextEmbeddingCache, stage: str) -> "TemporaryDirectory[str]":
    """Return the folder of a shop whose refresh was killed so. It lives as long as the process."""
    folder = TemporaryDirectory()
    shop = TinyRefresh(Path(folder.name), preset, texts)
    if stage == JUDGING:
        shop.served()
    else:
        shop.killed(_STAGES[_STAGES.index(stage) - 1])
    with pytest.raises(KilledError):
        shop.ran(UNTIL, listener=kill_at(stage))
    return folder
