"""A refresh goes on with what it has found out only as long as that holds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from structlog.testing import capture_logs

from feature_repo.offline_features import OfflineFeatures
from serving.bundle import CURRENT, MANIFEST, current_version, set_current
from serving.settings import ServingSettings
from serving.text_embedding_cache import TextEmbeddingCache
from tests.support import tiny_training as tiny
from trainer import refresh as module
from trainer import resuming
from trainer.bundle_checks import BundleChecks
from trainer.evaluate import EvaluationRow
from trainer.gate_settings import GateSettings
from trainer.judging import Judgement
from trainer.listener import Listener
from trainer.ranking.ranker import blank_ranker
from trainer.ranking.service_settings import ServiceSettings
from trainer.refresh import RefreshOutcome, refresh
from trainer.resuming import Notes
from trainer.settings import TextSettings, TrainingSettings
from trainer.start import Start

OLD, PROMOTED = "20260101T000000Z-aaaa", "20260201T000000Z-bbbb"
NOW = datetime(2026, 5, 1, tzinfo=UTC)


class KilledError(BaseException):
    pass


def kill_at(stage: str) -> Listener:
    def kill(title: str) -> None:
        if title == stage:
            raise KilledError

    return Listener(kill)


def events(*event_ids: str) -> pl.DataFrame:
    return pl.DataFrame({"event_id": event_ids})


@dataclass
class Shop:
    """A shop whose models are made of nothing.

    did: what was done, by the dimension it was for. learned: the events of each try.
    """

    folder: Path
    settings: TrainingSettings
    did: list[tuple[str, int]] = field(default_factory=list)
    learned: list[set[str]] = field(default_factory=list)

    @property
    def bundles(self) -> Path:
        return self.folder / "bundles"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "training"

    def refreshed(self, notes: Notes | None, **options: Any) -> RefreshOutcome:
        return refresh(
            options.pop("events", events("a", "b")),
            [],
            options.pop("settings", self.settings),
            self.bundles,
            TextEmbeddingCache(),
            NOW,
            features=OfflineFeatures(self.folder / "features"),
            checkpoints=self.checkpoints,
            notes=notes,
            gates=options.pop("gates", GateSettings(min_users=0)),
            **options,
        )

    def killed(self, stage: str, notes: Notes | None = None) -> Notes:
        """Return the notes of a refresh that was killed as the stage began."""
        notes = {} if notes is None else notes
        with pytest.raises(KilledError):
            self.refreshed(notes, listener=kill_at(stage))
        self.did.clear()
        return notes

    def publish(self, version: str) -> None:
        (self.bundles / version).mkdir(parents=True)
        (self.bundles / version / MANIFEST).touch()

    def serve(self, version: str) -> None:
        self.publish(version)
        set_current(self.bundles, version)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    text = TextSettings(model=str(tmp_path))
    shop = Shop(tmp_path, tiny.tiny_settings(text=text))

    def material(events: Any, items: Any, settings: TrainingSettings, *_: Any) -> Any:
        def trained(*_: Any, **options: Any) -> None:
            shop.did.append(("trained", settings.dimension))

        shop.learned.append(set(events["event_id"]))
        return SimpleNamespace(
            interactions=None, text_embeddings=None, settings=settings, trained=trained
        )

    def judged(material: Any, *_: Any) -> Judgement:
        shop.did.append(("judged", material.settings.dimension))
        rows = [EvaluationRow("all together", "all", 9, {"ndcg@10": 0.5})]
        return Judgement(1, rows, blank_ranker(material.settings.ranking))

    def exported(model: Any, bundles: Path, now: Any, *, version: str, **_: Any) -> None:
        shop.publish(version)

    def start_from(path: Path, settings: TrainingSettings) -> Start:
        if not (path / MANIFEST).exists():
            return Start(None, f"{path.name} cannot be read")
        return Start(SimpleNamespace(version=path.name))  # type: ignore[arg-type]

    for name, stub in {
        "read_material": material,
        "judge_epochs": judged,
        "current_scorer": lambda *_: None,
        "choose_start": lambda bundles, *_: start_from(
            bundles / (current_version(bundles) or ""), shop.settings
        ),
        "fit_tables": lambda *_: None,
        "replace": lambda tables, **_: tables,
        "export_bundle": exported,
        "check_bundle": lambda *_: BundleChecks(1.0, 0.0),
    }.items():
        monkeypatch.setattr(module, name, stub)
    monkeypatch.setattr(resuming, "start_from", start_from)
    shop.serve(OLD)
    return shop


def test_a_refresh_goes_on_where_it_was_killed(shop: Shop) -> None:
    notes = shop.killed("Exporting")
    with capture_logs() as lines:
        done = shop.refreshed(notes, gates=GateSettings(min_value={"all/ndcg@10": 0.1}))
    assert [did for did, _ in shop.did] == ["trained"]
    assert done.start == f"warm start from {OLD}"
    assert current_version(shop.bundles) == done.bundle.name
    assert not lines


def test_it_goes_on_with_the_events_that_there_were_when_it_began_and_are_there(
    shop: Shop,
) -> None:
    notes: Notes = {}
    shop.killed("Exporting", notes)
    shop.refreshed(notes, events=events("b", "c"))
    assert shop.learned == [{"a", "b"}, {"b"}]
    # One that begins anew learns from all.
    shop.refreshed({}, events=events("b", "c"))
    assert shop.learned[-1] == {"b", "c"}


def test_without_notes_all_events_are_learned_from(shop: Shop) -> None:
    with pytest.raises(KilledError):
        shop.refreshed(None, listener=kill_at("Training on everything"))
    shop.refreshed(None, events=events("b", "c"))
    assert shop.learned[-1] == {"b", "c"}


def to(**changes: Any) -> Callable[[Shop], dict[str, Any]]:
    """Return options of a refresh whose settings have changed."""
    return lambda shop: {"settings": shop.settings.model_copy(update=changes)}


def without_warm_start(shop: Shop) -> dict[str, Any]:
    warm = shop.settings.warm_start.model_copy(update={"enabled": False})
    return to(warm_start=warm)(shop)


def other_text_model(shop: Shop) -> dict[str, Any]:
    (shop.folder / "vocab.txt").write_text("other words")
    return {}


def other_lists(shop: Shop) -> dict[str, Any]:
    return {"service": ServiceSettings(ServingSettings(buy_again_days=7.0))}


@pytest.mark.parametrize(
    "change",
    [to(dimension=64), to(epochs=9), without_warm_start, other_text_model, other_lists],
)
@pytest.mark.parametrize("stage", ["Exporting", "Checking the bundle"])
def test_with_other_settings_it_is_trained_and_judged_anew(
    shop: Shop, stage: str, change: Callable[[Shop], dict[str, Any]]
) -> None:
    """The rows and the number of epochs in the notes are of a model that is not made any more."""
    notes = shop.killed(stage)
    version = notes["version"]
    (shop.checkpoints / "full").mkdir()
    options = change(shop)
    with capture_logs() as lines:
        done = shop.refreshed(notes, **options)
    dimension = options.get("settings", shop.settings).dimension
    assert shop.did == [("judged", dimension), ("trained", dimension)]
    assert done.bundle.name != version
    assert not (shop.checkpoints / "full").exists()
    (line,) = lines
    assert (line["event"], line["reason"]) == ("refresh_begins_anew", "its settings have changed")


def test_it_is_not_compared_with_a_bundle_that_does_not_serve_any_more(shop: Shop) -> None:
    """And it does not serve under a version older than what was made meanwhile."""
    notes = shop.killed("Exporting")
    shop.serve(PROMOTED)
    done = shop.refreshed(notes)
    assert [did for did, _ in shop.did] == ["judged", "trained"]
    assert done.start == f"warm start from {PROMOTED}"


def test_where_nothing_serves_any_more_there_is_nothing_to_compare_with(shop: Shop) -> None:
    notes = shop.killed("Training on everything")
    notes.pop("version")
    (shop.bundles / CURRENT).unlink()
    shop.refreshed(notes)
    assert [did for did, _ in shop.did] == ["judged", "trained"]


def test_its_own_bundle_may_serve_already(shop: Shop) -> None:
    notes = shop.killed("Checking the bundle")
    set_current(shop.bundles, notes["version"])
    assert shop.refreshed(notes).bundle.name == notes["version"]
    assert not shop.did


@pytest.mark.parametrize("other", [None, {}])
def test_checkpoints_of_another_training_are_not_gone_on_from(
    shop: Shop, other: Notes | None
) -> None:
    """By `riverrun train`, or by a refresh of another id, that did not come to serve."""
    notes = shop.killed("Exporting")
    with pytest.raises(KilledError):
        shop.refreshed(other, listener=kill_at("Training on everything"))
    (shop.checkpoints / "full").mkdir()
    shop.did.clear()
    done = shop.refreshed(notes)
    assert [did for did, _ in shop.did] == ["judged", "trained"]
    assert current_version(shop.bundles) == done.bundle.name
    assert not (shop.checkpoints / "full").exists()


def test_a_training_without_notes_goes_on_from_its_own_checkpoints_alone(shop: Shop) -> None:
    with pytest.raises(KilledError):
        shop.refreshed(None, listener=kill_at("Training on everything"))
    (shop.checkpoints / "full").mkdir()
    shop.refreshed(None)
    assert (shop.checkpoints / "full").exists()
    shop.killed("Training on everything")
    (shop.checkpoints / "full").mkdir()
    shop.refreshed(None)
    assert not (shop.checkpoints / "full").exists()


def test_a_start_that_cannot_be_read_any_more_is_no_start(shop: Shop) -> None:
    notes = shop.killed("Exporting")
    (shop.bundles / OLD / MANIFEST).unlink()
    done = shop.refreshed(notes)
    assert [did for did, _ in shop.did] == ["judged", "trained"]
    assert done.start == f"cold start: {OLD} cannot be read"


def test_what_is_published_needs_no_checkpoints(shop: Shop) -> None:
    notes = shop.killed("Checking the bundle")
    (shop.checkpoints / "ranker.safetensors").unlink()
    assert shop.refreshed(notes).bundle.name == notes["version"]
