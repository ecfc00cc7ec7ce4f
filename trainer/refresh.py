"""One refresh: from events and items to a published bundle that serves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.offline_features import OfflineFeatures
from feature_repo.schema import Item
from serving.bundle import current_bundle, set_current
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.baselines import EmbeddingScorer, baselines
from trainer.evaluate import NDCG_AT, EvaluationRow, evaluate
from trainer.export import export_bundle
from trainer.history_examples import joined_windows
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.tasks import EvaluationTask, Split, temporal_split
from trainer.text_embeddings import catalogue_text_embeddings
from trainer.text_tower import TextTower, load_text_tower
from trainer.train import Progress, TrainedModel, train

NDCG = f"ndcg@{NDCG_AT}"
TWO_TOWER = "two-tower"
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
    """What came of it: the bundle, and how the model did on the newest slice."""

    bundle: Path
    epochs: int
    rows: Sequence[EvaluationRow]


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
) -> Refresh:
    """Train on `events` and serve the result.

    `features` makes the point-in-time join: of no example is more shown than was known then.

    1. Embed the catalogue's texts, those that the cache lacks.
    2. Hold out the newest slice; train on what is before it, and keep the number of epochs
       whose model answers it best.
    3. Train on everything for so many epochs.
    4. Export, publish, and make it the current bundle.

    A failure at any step leaves the current bundle serving.

    Raises:
        ValueError: there is nothing to learn from; the message says what is missing.
    """
    listener = listener or Listener()
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
    epochs, rows = settings.epochs, list[EvaluationRow]()
    split = temporal_split(events, items, cut=newest_slice_cut(interactions, settings))
    if settings.holdout_share and all(len(task.users) for task in split.tasks):
        listener.stage("Training, the newest slice held out")
        epochs, rows = _choose_epochs(
            events,
            split,
            items,
            settings,
            tower,
            embeddings,
            features,
            _folder(checkpoints, "held-out"),
            listener,
        )
    # 3.
    listener.stage("Training on everything")
    model = train(
        interactions,
        joined_windows(events, interactions, settings, features),
        settings,
        tower,
        embeddings,
        checkpoints=_folder(checkpoints, "full"),
        on_step=listener.step,
        # The schedule stays that of the validated training: it is stopped where that was best.
        stop_after=epochs,
    )
    # 4.
    listener.stage("Exporting")
    parent = current_bundle(bundles)
    bundle = export_bundle(
        model,
        bundles,
        now,
        parent=parent.name if parent else None,
        metrics=_metrics(rows),
    )
    set_current(bundles, bundle.name)
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


def _choose_epochs(
    events: pl.DataFrame,
    split: Split,
    items: Sequence[Item],
    settings: TrainingSettings,
    tower: TextTower,
    embeddings: npt.NDArray[np.float32],
    features: OfflineFeatures,
    checkpoints: Path | None,
    listener: Listener,
) -> tuple[int, list[EvaluationRow]]:
    past_embeddings = embeddings_of(split.past.items, items, embeddings)
    tasks = [_sampled(task, settings.seed) for task in split.tasks]
    every = tasks[1]
    best: tuple[float, int, list[EvaluationRow]] = (-1.0, settings.epochs, [])

    def judge(epoch: int, model: TrainedModel) -> None:
        nonlocal best
        scorer = two_tower_scorer(model)
        row = evaluate(scorer, every)
        if row.metrics[NDCG] > best[0]:
            rows = [evaluate(scorer, task, past_embeddings) for task in tasks]
            best = (row.metrics[NDCG], epoch, rows)

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
    others = [
        evaluate(scorer, task, past_embeddings)
        for scorer in baselines(split.past)
        for task in tasks
    ]
    return best[1], [*others, *best[2]]


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
        f"{row.task}/{name}": value
        for row in rows
        if row.scorer == TWO_TOWER
        for name, value in row.metrics.items()
    }


def _folder(checkpoints: Path | None, name: str) -> Path | None:
    return None if checkpoints is None else checkpoints / name
