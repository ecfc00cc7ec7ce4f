"""How many epochs to train for, judged by the newest slice of the events, held out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import structlog

from serving.bundle import Bundle, BundleError, current_bundle
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.baselines import EmbeddingScorer, Scorer, baselines
from trainer.bundle_scorer import BundleScorer
from trainer.evaluate import NDCG_AT, EvaluationRow, evaluate
from trainer.gates import CANDIDATE, CURRENT
from trainer.interactions import Interactions
from trainer.material import Material
from trainer.settings import TrainingSettings
from trainer.start import Start
from trainer.tasks import EvaluationTask, temporal_split
from trainer.train import Progress, TrainedModel

NDCG = f"ndcg@{NDCG_AT}"
TWO_TOWER = CANDIDATE

MakeScorer = Callable[[Interactions], Scorer]
"""From the histories that are asked about."""

JUDGED_USERS = 2_000
"""So many users tell epochs apart; all of a large shop would take longer than the epoch."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The number of epochs to train for, and the rows of those who answered the newest slice."""

    epochs: int
    rows: Sequence[EvaluationRow]


@dataclass(frozen=True, slots=True)
class _Epoch:
    number: int
    value: float
    rows: Sequence[EvaluationRow]


class _BestEpoch:
    """The best epoch so far, in a file beside the checkpoints, so that both are gone on from."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._best: _Epoch | None = None

    def read(self) -> _Epoch | None:
        if self._file is None:
            return self._best
        try:
            read = orjson.loads(self._file.read_bytes())
        except FileNotFoundError:
            return None
        rows = [EvaluationRow(**row) for row in read["rows"]]
        return _Epoch(read["number"], read["value"], rows)

    def write(self, best: _Epoch) -> None:
        self._best = best
        if self._file is not None:
            replacement = self._file.with_suffix(".unfinished")
            replacement.write_bytes(orjson.dumps(best))
            replacement.replace(self._file)


def judge_epochs(
    material: Material,
    start: Start,
    current: MakeScorer | None,
    checkpoints: Path | None,
    on_step: Callable[[Progress], None],
) -> Judgement:
    """Train on what is before the newest slice, and ask after each epoch about the slice.

    The rows are of the best epoch, of the baselines, and of `current`. Without a slice, because
    none is held out or nobody answers it, no training is done, and all epochs count as best.
    """
    settings = start.settings(material.settings)
    split = temporal_split(material.events, material.items, _cut(material, start))
    # Who returns to what they know is asked by one task only.
    tasks = [_sampled(task, settings.seed) for task in split.tasks if len(task.users)]
    if not settings.holdout_share or not tasks:
        return Judgement(settings.epochs, ())
    embeddings = material.text_embeddings_of(split.past.items)
    every = tasks[-1]
    kept = _BestEpoch(None if checkpoints is None else checkpoints / "best-epoch.json")

    def judge(epoch: int, model: TrainedModel) -> None:
        scorer = two_tower_scorer(model)
        value = evaluate(scorer, every).metrics[NDCG]
        best = kept.read()
        if best is None or value > best.value:
            rows = [evaluate(scorer, task, embeddings) for task in tasks]
            kept.write(_Epoch(epoch, value, rows))

    material.trained(split.past, start, checkpoints=checkpoints, on_step=on_step, on_epoch=judge)
    best = kept.read()
    assert best is not None, "a training has an epoch"
    scorers = [*baselines(split.past), *([current(split.past)] if current else [])]
    others = [evaluate(scorer, task, embeddings) for scorer in scorers for task in tasks]
    return Judgement(best.number, [*others, *best.rows])


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


def current_scorer(bundles: Path, text_cache: TextEmbeddingCache) -> MakeScorer | None:
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


def _cut(material: Material, start: Start) -> datetime:
    """Return the moment from which events are held out: after all that the start has seen."""
    cut = newest_slice_cut(material.interactions, material.settings)
    if start.warm is None or start.warm.end is None:
        return cut
    return max(cut, start.warm.end + timedelta(microseconds=1))


def newest_slice_cut(interactions: Interactions, settings: TrainingSettings) -> datetime:
    """Return the moment after which events are held out: `holdout_share`, at most 30 days."""
    span = interactions.end - interactions.start
    return interactions.end - min(span * settings.holdout_share, timedelta(days=30))
