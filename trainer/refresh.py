"""One refresh: from events and items to a published bundle that serves."""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import structlog

from feature_repo.offline_features import OfflineFeatures
from feature_repo.schema import Item
from serving.bundle import (
    Bundle,
    BundleError,
    current_bundle,
    current_version,
    is_published,
    new_version,
    set_current,
)
from serving.settings import ServingSettings
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.baselines import EmbeddingScorer, Scorer, baselines
from trainer.bundle_checks import check_bundle
from trainer.bundle_scorer import BundleScorer
from trainer.evaluate import NDCG_AT, EvaluationRow, evaluate
from trainer.export import export_bundle
from trainer.gate_settings import GateSettings
from trainer.gates import CANDIDATE, CURRENT, refusals
from trainer.history_examples import joined_windows
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.tasks import EvaluationTask, temporal_split
from trainer.text_embeddings import catalogue_text_embeddings
from trainer.text_tower import TextTower, load_text_tower
from trainer.train import Progress, TrainedModel, train

NDCG = f"ndcg@{NDCG_AT}"
TWO_TOWER = CANDIDATE
CHOICE, VERSION = "choice", "version"
"""Names of notes."""

Notes = MutableMapping[str, Any]
"""What the steps of a refresh have found out, as JSON."""

MakeScorer = Callable[[Interactions], Scorer]
"""From the histories that are asked about."""

JUDGED_USERS = 2_000
"""So many users tell epochs apart; all of a large shop would take longer than the epoch."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Hears how far a refresh is. `stage` starts a stage; the others tell of its progress."""

    stage: Callable[[str], None] = lambda title: None
    texts: Callable[[int, int], None] = lambda done, total: None
    step: Callable[[Progress], None] = lambda progress: None


@dataclass(frozen=True, slots=True)
class Refresh:
    """What came of it: the bundle, how the model did on the newest slice, and why not to serve.

    `refusals` is empty where the bundle serves now.
    """

    bundle: Path
    epochs: int
    rows: Sequence[EvaluationRow]
    refusals: Sequence[str] = ()


def refresh(
    events: pl.DataFrame,
    items: Sequence[Item],
    settings: TrainingSettings,
    bundles: Path,
    text_cache: TextEmbeddingCache,
    now: datetime,
    *,
    features: OfflineFeatures,
    checkpoints: Path | None = None,
    listener: Listener | None = None,
    gates: GateSettings | None = None,
    serving: ServingSettings | None = None,
    notes: Notes | None = None,
) -> Refresh:
    """Train on `events` and serve the result, if it passes the gates.

    `features` makes the point-in-time join: of no example is more shown than was known then.

    1. Embed the catalogue's texts, those that the cache lacks.
    2. Hold out the newest slice; train on what is before it, and keep the number of epochs
       whose model answers it best. Ask the current bundle and the baselines the same.
    3. Train on everything for so many epochs, and export: published, but not served.
    4. Check the bundle as a server would, and hold both against the gates.
    5. Make it the current bundle.

    A failure at any step leaves the current bundle serving.

    `checkpoints` is a folder to resume an interrupted training from. `gates` are what the bundle
    must reach to serve; without them every bundle serves. `serving` says how the index that is
    checked is built. `notes` are what earlier tries of this refresh have found out, as JSON: the
    steps that they finished are not done again.

    Raises:
        ValueError: there is nothing to learn from; the message says what is missing.
    """
    listener = listener or Listener()
    notes = {} if notes is None else notes
    if not items:
        raise ValueError("the catalogue is empty: import items first.")
    # 1.
    listener.stage("Embedding texts")
    tower = load_text_tower(settings.text)
    texts = [item.text for item in items]
    embeddings = catalogue_text_embeddings(tower, texts, settings.text, text_cache, listener.texts)
    interactions = Interactions.from_frame(events, items)
    if len(interactions.item) == 0:
        raise ValueError("no event is on an item of the catalogue: import events first.")
    # 2.
    if CHOICE not in notes:
        choice = _choose(
            events,
            items,
            interactions,
            settings,
            tower,
            embeddings,
            features,
            _current(bundles, text_cache) if gates else None,
            _folder(checkpoints, "held-out"),
            listener,
        )
        notes[CHOICE] = {"epochs": choice.epochs, "rows": [asdict(row) for row in choice.rows]}
    epochs = int(notes[CHOICE]["epochs"])
    rows = [EvaluationRow(**row) for row in notes[CHOICE]["rows"]]
    # 3.
    version = str(notes.setdefault(VERSION, new_version(now)))
    bundle = bundles / version
    if not is_published(bundle):
        listener.stage("Training on everything")
        model = train(
            interactions,
            joined_windows(events, interactions, settings, features),
            settings,
            tower,
            embeddings,
            checkpoints=_folder(checkpoints, "full"),
            on_step=listener.step,
            # The schedule stays that of the validated training: stopped where that was best.
            stop_after=epochs,
        )
        listener.stage("Exporting")
        export_bundle(
            model,
            bundles,
            now,
            version=version,
            parent=current_version(bundles),
            metrics=_metrics(rows),
        )
    # 4.
    if gates:
        listener.stage("Checking the bundle")
        checks = check_bundle(bundle, interactions, serving or ServingSettings(), text_cache)
        if reasons := refusals(rows, checks, gates):
            return Refresh(bundle, epochs, rows, reasons)
    # 5.
    set_current(bundles, version)
    return Refresh(bundle, epochs, rows)


def two_tower_scorer(model: TrainedModel, histories: Interactions | None = None) -> EmbeddingScorer:
    """Return the model as a scorer of users' `histories`; default: those it was trained on.

    Raises:
        ValueError: `histories` have other event types or items than the model.
    """
    if histories is not None:
        known = model.interactions
        if histories.event_types != known.event_types or len(histories.items) != len(known.items):
            raise ValueError(
                "`histories` must have the model's event types and items. Received: "
                f"{list(histories.event_types)} and {len(histories.items)} items, "
                f"not {list(known.event_types)} and {len(known.items)}."
            )
        model = replace(model, interactions=histories)
    candidates = model.candidate_embeddings()
    users = np.arange(len(model.interactions.user_ids))
    return EmbeddingScorer(TWO_TOWER, model.query_embeddings(users, candidates), candidates)


def embeddings_of(
    chosen: Sequence[Item], items: Sequence[Item], embeddings: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the rows of `embeddings` [len(items), n] that belong to the items `chosen`."""
    rows = {item.item_id: row for row, item in enumerate(items)}
    return embeddings[[rows[item.item_id] for item in chosen]]


@dataclass(frozen=True, slots=True)
class _Choice:
    """The number of epochs to train for, and the rows of those who answered the newest slice."""

    epochs: int
    rows: Sequence[EvaluationRow]


def _choose(
    events: pl.DataFrame,
    items: Sequence[Item],
    interactions: Interactions,
    settings: TrainingSettings,
    tower: TextTower,
    embeddings: npt.NDArray[np.float32],
    features: OfflineFeatures,
    current: MakeScorer | None,
    checkpoints: Path | None,
    listener: Listener,
) -> _Choice:
    split = temporal_split(events, items, cut=newest_slice_cut(interactions, settings))
    if not settings.holdout_share or not all(len(task.users) for task in split.tasks):
        return _Choice(settings.epochs, ())
    listener.stage("Training, the newest slice held out")
    past_embeddings = embeddings_of(split.past.items, items, embeddings)
    tasks = [_sampled(task, settings.seed) for task in split.tasks]
    every = tasks[1]
    best = _Choice(settings.epochs, ())
    best_value = -1.0

    def judge(epoch: int, model: TrainedModel) -> None:
        nonlocal best, best_value
        scorer = two_tower_scorer(model)
        value = evaluate(scorer, every).metrics[NDCG]
        if value > best_value:
            rows = [evaluate(scorer, task, past_embeddings) for task in tasks]
            best, best_value = _Choice(epoch, rows), value

    train(
        split.past,
        joined_windows(events, split.past, settings, features),
        settings,
        tower,
        past_embeddings,
        checkpoints=checkpoints,
        on_step=listener.step,
        on_epoch=judge,
    )
    scorers = [*baselines(split.past), *([current(split.past)] if current else [])]
    others = [evaluate(scorer, task, past_embeddings) for scorer in scorers for task in tasks]
    return _Choice(best.epochs, [*others, *best.rows])


def _current(bundles: Path, text_cache: TextEmbeddingCache) -> MakeScorer | None:
    """Return what makes a scorer of the bundle that serves; None where none does.

    It has seen the newest slice as far as its own data reach: it is flattered, if anything. One
    that cannot be loaded any more has nothing to say.
    """
    path = current_bundle(bundles)
    if path is None:
        return None
    try:
        bundle = Bundle.load(path)
    except BundleError as error:
        structlog.get_logger(__name__).warning("current_bundle_not_compared", reason=str(error))
        return None
    return lambda histories: BundleScorer(bundle, histories, text_cache, CURRENT)


def _sampled(task: EvaluationTask, seed: int) -> EvaluationTask:
    """Return the task for at most `JUDGED_USERS` of its users, drawn once."""
    if len(task.users) <= JUDGED_USERS:
        return task
    drawn = np.random.default_rng(seed).choice(len(task.users), JUDGED_USERS, replace=False)
    return replace(
        task,
        users=task.users[drawn],
        relevant=[task.relevant[row] for row in drawn],
        excluded=[task.excluded[row] for row in drawn],
    )


def newest_slice_cut(interactions: Interactions, settings: TrainingSettings) -> datetime:
    """Return the moment after which events are held out: `holdout_share`, at most 30 days."""
    span = interactions.end - interactions.start
    return interactions.end - min(span * settings.holdout_share, timedelta(days=30))


def _metrics(rows: Sequence[EvaluationRow]) -> dict[str, float]:
    return {
        name: value
        for row in rows
        if row.scorer == TWO_TOWER
        for name, value in row.named_metrics.items()
    }


def _folder(checkpoints: Path | None, name: str) -> Path | None:
    return None if checkpoints is None else checkpoints / name
