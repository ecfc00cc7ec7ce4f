"""A shop whose refreshes do nothing but say what they did, killed where a test says."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest

from feature_repo.offline_features import OfflineFeatures
from feature_repo.schema import Item
from serving.published_bundles import current_version, set_current
from serving.text_embedding_cache import TextEmbeddingCache
from tests.support import tiny_training as tiny
from tests.support.blank_bundle import publish_start
from trainer.evaluate import EvaluationRow
from trainer.material import Material
from trainer.ranking.ranker import blank_ranker
from trainer.refresh.bundle_versions import readable_current
from trainer.refresh.gate_settings import GateSettings
from trainer.refresh.inputs import RefreshInputs
from trainer.refresh.notes import BundleChecks, Choice
from trainer.refresh.refresh import RefreshOutcome, refresh
from trainer.refresh.resuming import (
    Begun,
    RefreshCheckpoint,
    RunCheckpoint,
    TrainingCheckpoint,
)
from trainer.refresh.runs_file import RunsFile
from trainer.settings import TextSettings, TrainingSettings
from trainer.start import start_from

OLD, PROMOTED = "20260101T000000Z-aaaa", "20260201T000000Z-bbbb"
NOW = datetime(2026, 5, 1, tzinfo=UTC)


class KilledError(BaseException):
    pass


def events(*event_ids: str) -> pl.DataFrame:
    return pl.DataFrame({"event_id": event_ids, "user_id": "u", "timestamp": NOW})


@dataclass
class Shop:
    """A shop whose models are made of nothing.

    did: what was done, by the dimension it was for. learned: the events and items of each try.
    """

    folder: Path
    settings: TrainingSettings
    did: list[tuple[str, int]] = field(default_factory=list)
    learned: list[tuple[set[str], list[Item]]] = field(default_factory=list)

    @property
    def bundles(self) -> Path:
        return self.folder / "bundles"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "training"

    @property
    def runs(self) -> RunsFile:
        return RunsFile(self.bundles)

    def run(self, run_id: str = "run") -> RunCheckpoint:
        """Return the checkpoint of the run of this id, as its earlier tries have left it."""
        return RunCheckpoint(self.checkpoints, self.runs, run_id)

    def training(self) -> TrainingCheckpoint:
        return TrainingCheckpoint(self.checkpoints)

    def refreshed(
        self,
        checkpoint: RefreshCheckpoint,
        events: pl.DataFrame = events("a", "b"),  # noqa: B008 — it is immutable
        *,
        killed_at: str = "",
        **changes: Any,
    ) -> RefreshOutcome:
        inputs = RefreshInputs(
            **{
                "items": [],
                "settings": self.settings,
                "bundles": self.bundles,
                "current": readable_current(self.bundles),
                "features": OfflineFeatures(self.folder / "features"),
                "text_cache": TextEmbeddingCache(),
                "now": NOW,
                "gates": GateSettings(min_users=0),
                **changes,
            }
        )
        return refresh(events, inputs, StepsOfNothing(self, inputs.settings, killed_at), checkpoint)

    def kill(self, step: str, checkpoint: RefreshCheckpoint | None = None, **changes: Any) -> None:
        """Begin a refresh, of the run by default, that is killed as the step begins."""
        with pytest.raises(KilledError):
            self.refreshed(checkpoint or self.run(), killed_at=step, **changes)
        self.did.clear()

    def serve(self, version: str) -> None:
        publish_start(self.bundles, version, self.settings)
        set_current(self.bundles, version)


def shop_of(folder: Path, text_model: Path) -> Shop:
    """Return a shop with a text model of which nothing but a digest is known."""
    text_model.mkdir(exist_ok=True)
    (text_model / "model.safetensors").write_bytes(b"of these it is known that they are the same")
    return Shop(folder, tiny.tiny_settings(text=TextSettings(model=str(text_model))))


@dataclass
class StepsOfNothing:
    """Implements `RefreshSteps`. killed_at: where, of "train", "export" and "check"."""

    shop: Shop
    settings: TrainingSettings
    killed_at: str

    def prepare(self, begun: Begun) -> Material:
        self.shop.learned.append((set(begun.events["event_id"]), list(begun.items)))
        serving = self.shop.bundles / (current_version(self.shop.bundles) or "")
        start, unused = begun.start or start_from(serving, self.settings), cast(Any, None)
        return Material(unused, [], unused, self.settings, unused, None, unused, start)

    def judge(self, material: Material, checkpoint: RefreshCheckpoint) -> Choice:
        self.done("judged")
        checkpoint.write_ranker(blank_ranker(self.settings.ranking))
        rows = (EvaluationRow("all together", "all", 9, {"ndcg@10": 0.5}),)
        return Choice(epochs=1, rows=rows, has_ranker=True, fusion=None)

    def publish(
        self, material: Material, choice: Choice, version: str, checkpoint: RefreshCheckpoint
    ) -> None:
        self.begin("train")
        self.done("trained")
        assert checkpoint.read_ranker(self.settings.ranking) is not None
        self.begin("export")
        publish_start(self.shop.bundles, version, self.settings)

    def check(self, material: Material, version: str) -> BundleChecks:
        self.begin("check")
        return BundleChecks(1.0, 0.0)

    def begin(self, step: str) -> None:
        if step == self.killed_at:
            raise KilledError

    def done(self, step: str) -> None:
        self.shop.did.append((step, self.settings.dimension))
