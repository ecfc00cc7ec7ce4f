"""How many epochs to train for, judged by what is held out of the events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import orjson
import structlog

from serving.bundle import Bundle, BundleError, current_bundle
from serving.ranking.bundle_files import RankingData
from serving.settings import ServingSettings
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.baselines import EmbeddingScorer, Scorer, baselines
from trainer.bundle_scorer import bundle_pipeline
from trainer.evaluate import NDCG_AT, EvaluationRow, evaluate
from trainer.gates import CANDIDATE, CURRENT
from trainer.held_out import MOMENT, held_out_splits
from trainer.interactions import Interactions
from trainer.material import Material
from trainer.ranking.fit import Newest, fit_ranker, fit_tables
from trainer.ranking.past_shop import PastShop, ranking_of
from trainer.ranking.pipeline_scorer import PipelineScorer
from trainer.ranking.ranker import as_ranker
from trainer.settings import TrainingSettings
from trainer.start import Start
from trainer.tasks import EvaluationTask, Split
from trainer.train import Progress, TrainedModel

NDCG = f"ndcg@{NDCG_AT}"
TWO_TOWER = "two-tower"

Embeddings = npt.NDArray[np.float32]
MakeScorer = Callable[[Interactions], Scorer]
"""From the histories that are asked about."""

JUDGED_USERS = 2_000
"""So many users tell epochs apart; all of a large shop would take longer than the epoch."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The number of epochs to train for, and the rows of those who answered what was held out."""

    epochs: int
    rows: Sequence[EvaluationRow]
    ranker: keras.Model | None = None


@dataclass(frozen=True, slots=True)
class _Epoch:
    number: int
    value: float
    rows: Sequence[EvaluationRow]


class BestEpoch:
    """The best epoch so far, in files beside the checkpoints, so that both are gone on from."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._best: _Epoch | None = None
        self._embeddings: dict[str, Embeddings] = {}

    def read(self) -> _Epoch | None:
        """Return the best epoch; None before the first."""
        if self._folder is None:
            return self._best
        try:
            read = orjson.loads((self._folder / "best-epoch.json").read_bytes())
        except FileNotFoundError:
            return None
        rows = [EvaluationRow(**row) for row in read["rows"]]
        return _Epoch(read["number"], read["value"], rows)

    def embeddings(self, name: str) -> Embeddings:
        """Return "queries" or "candidates" of the epoch."""
        if self._folder is None:
            return self._embeddings[name]
        embeddings: Embeddings = np.load(self._folder / f"best-{name}.npy", allow_pickle=False)
        return embeddings

    def write(self, best: _Epoch, **embeddings: Embeddings) -> None:
        """Keep the epoch, the best from now on, with its embeddings."""
        if self._folder is None:
            self._best, self._embeddings = best, embeddings
            return
        # The number last: killed before it, the epoch is done again, and so are these.
        for name, each in embeddings.items():
            np.save(self._folder / f"best-{name}.npy", each, allow_pickle=False)
        replacement = self._folder / "best-epoch.unfinished"
        replacement.write_bytes(orjson.dumps(best))
        replacement.replace(self._folder / "best-epoch.json")


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What is held out, and what is asked about it.

    since: nothing older is asked for. judged: int64, the users of the split's past by whom a model
    is judged. tasks: the split's, of these users alone; the last is 'all', or the only one.
    """

    split: Split
    since: datetime | None
    judged: npt.NDArray[np.int64]
    tasks: Sequence[EvaluationTask]


def hold_out(material: Material, start: Start) -> HeldOut | None:
    """Return what is held out of a training that begins so; None where nobody can be asked."""
    settings = start.settings(material.settings)
    # After all that the start has seen.
    seen = start.warm.end if start.warm else None
    since = None if seen is None else seen + MOMENT
    split = next(held_out_splits(material.events, material.items, settings, since), None)
    if split is None or not len(split.tasks[-1].users):
        return None
    judged = _judged(split.tasks[-1], settings)
    # Who returns to what they know is asked by one task only.
    tasks = [part for task in split.tasks if len((part := _of_users(task, judged)).users)]
    return HeldOut(split, since, judged, tasks)


def best_epoch(
    material: Material,
    start: Start,
    held_out: HeldOut,
    checkpoints: Path | None,
    on_step: Callable[[Progress], None],
    on_value: Callable[[int, float], None] = lambda epoch, value: None,
) -> BestEpoch:
    """Train the two-tower on the past, and return the epoch that answers what is held out best.

    on_value: called after every epoch with the number of epochs done and NDCG@10 of 'all'.
    """
    split, tasks = held_out.split, held_out.tasks
    embeddings = material.text_embeddings_of(split.past.items)
    every = tasks[-1]
    kept = BestEpoch(checkpoints)

    def judge(epoch: int, model: TrainedModel) -> None:
        candidates = model.candidate_embeddings()
        queries = model.query_embeddings(np.arange(len(split.past.user_ids)), candidates)
        scorer = EmbeddingScorer(TWO_TOWER, queries, candidates)
        value = evaluate(scorer, every).metrics[NDCG]
        best = kept.read()
        if best is None or value > best.value:
            rows = [evaluate(scorer, task, embeddings) for task in tasks]
            kept.write(_Epoch(epoch, value, rows), queries=queries, candidates=candidates)
        on_value(epoch, value)

    material.trained(split.past, start, checkpoints=checkpoints, on_step=on_step, on_epoch=judge)
    return kept


def fit_list(
    material: Material,
    held_out: HeldOut,
    queries: Embeddings,
    candidates: Embeddings,
    settings: TrainingSettings,
    serving: ServingSettings,
) -> tuple[keras.Model | None, PipelineScorer]:
    """Learn to rank what is held out; return the ranker, and the list as a whole as a scorer.

    queries: float32 [num_users, dimension], candidates: float32 [num_items, dimension], a
    two-tower's, of the past's users and items.
    """
    split, judged = held_out.split, held_out.judged
    embeddings = material.text_embeddings_of(split.past.items)
    ranker, data = None, None
    if settings.ranking.enabled:
        judged_ids = {split.past.user_ids[user] for user in judged}
        data = fit_tables(split.past, embeddings, settings.ranking)
        ranker = fit_ranker(
            held_out_splits(material.events, material.items, settings, held_out.since),
            Newest(queries, candidates, data, judged_ids),
            material.text_embeddings_of,
            settings.ranking,
            serving,
            max_history=settings.history_length,
            seed=settings.seed,
        )
    pipeline = pipeline_scorer(
        CANDIDATE, split.past, data, ranker, queries, candidates, serving, settings
    )
    return ranker, pipeline


def judge_epochs(
    material: Material,
    start: Start,
    current: MakeScorer | None,
    checkpoints: Path | None,
    on_step: Callable[[Progress], None],
    serving: ServingSettings,
) -> Judgement:
    """Train on what comes before what is held out, ask for it after each epoch, learn to rank it.

    The rows are of the best epoch's two-tower, of the list as a whole, of the baselines, and of
    `current`, for users from whom the ranker has not learned. Where nothing is held out, or
    nobody can be asked for it, no training is done, and all epochs count as best.
    """
    settings = start.settings(material.settings)
    held_out = hold_out(material, start)
    if held_out is None:
        return Judgement(settings.epochs, ())
    kept = best_epoch(material, start, held_out, checkpoints, on_step)
    best = kept.read()
    assert best is not None, "a training has an epoch"
    queries, candidates = kept.embeddings("queries"), kept.embeddings("candidates")
    ranker, pipeline = fit_list(material, held_out, queries, candidates, settings, serving)
    past = held_out.split.past
    embeddings = material.text_embeddings_of(past.items)
    scorers = [*baselines(past), *([current(past)] if current else []), pipeline]
    rows = [evaluate(scorer, task, embeddings) for scorer in scorers for task in held_out.tasks]
    return Judgement(best.number, [*best.rows, *rows], ranker)


def pipeline_scorer(
    name: str,
    histories: Interactions,
    data: RankingData | None,
    ranker: keras.Model | None,
    queries: Embeddings,
    candidates: Embeddings,
    serving: ServingSettings,
    settings: TrainingSettings,
) -> PipelineScorer:
    """Return the list as the service would make it for users of `histories`, as a scorer.

    queries: float32 [num_users, dimension]; candidates: float32 [num_items, dimension].
    """
    function = None if ranker is None else as_ranker(ranker)
    shop = PastShop(
        histories,
        (lambda rows: None) if data is None else ranking_of(data.tables, data.signals, function),
        candidates,
        serving,
        max_history=settings.history_length,
    )
    return PipelineScorer(name, shop, lambda users: queries[users])


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


def current_scorer(
    bundles: Path, text_cache: TextEmbeddingCache, serving: ServingSettings
) -> MakeScorer | None:
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
    return lambda histories: bundle_pipeline(CURRENT, bundle, histories, text_cache, serving)


def _judged(task: EvaluationTask, settings: TrainingSettings) -> npt.NDArray[np.int64]:
    """Return the users by whom a model is judged, drawn once.

    At most `JUDGED_USERS`; where the others are enough for a ranker to learn from, half of all.
    """
    users, ranking = task.users, settings.ranking
    count = min(JUDGED_USERS, len(users))
    if ranking.enabled and ranking.slices and len(users) >= 2 * ranking.min_users:
        count = min(count, -(-len(users) // 2))
    drawn = np.random.default_rng(settings.seed).choice(len(users), count, replace=False)
    return np.sort(users[drawn])


def _of_users(task: EvaluationTask, users: npt.NDArray[np.int64]) -> EvaluationTask:
    rows = np.flatnonzero(np.isin(task.users, users)).tolist()
    return replace(
        task,
        users=task.users[rows],
        relevant=[task.relevant[row] for row in rows],
        excluded=[task.excluded[row] for row in rows],
    )
