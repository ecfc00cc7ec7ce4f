"""How many epochs to train for, judged by what is held out of the events."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import orjson
import structlog

from feature_repo.whole_file import replacing
from serving.bundle import BundleError
from serving.ranking.bundle_files import RankingData
from serving.ranking.calibrated_fusion import CalibratedFusion
from serving.ranking.settings import SOURCES, Source
from serving.text_embedding_cache import TextEmbeddingCache
from trainer import metrics
from trainer.baselines import EmbeddingScorer, Scorer, baselines
from trainer.bundle_scorer import bundle_pipeline, load_to_ask
from trainer.comparison import CANDIDATE, CURRENT, Current, compared
from trainer.evaluate import EvaluationRow, answer, evaluate, ndcgs
from trainer.held_out import held_out_splits
from trainer.interactions import Interactions
from trainer.material import Material
from trainer.ranking.fit import FittedTables, Learned, Newest, learn_to_order
from trainer.ranking.past_shop import PastShop, ranking_of
from trainer.ranking.pipeline_scorer import CrossFittedScorer, PipelineScorer
from trainer.ranking.ranker import as_ranker
from trainer.ranking.service_settings import ServiceSettings
from trainer.settings import TrainingSettings
from trainer.start import Start
from trainer.tasks import EvaluationTask, Split
from trainer.train import Progress, TrainedModel
from trainer.windows import has_windows

TWO_TOWER = "two-tower"

Embeddings = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
JUDGED_USERS = 2_000
"""At most so many users tell epochs apart; all of a large shop would take longer than an epoch."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The number of epochs to train for, and the evaluation of what was held out.

    ranker, fusion: None where there was too little to learn them from. newest, held_out: the data
    that both were learned from; None where nothing was held out.
    """

    epochs: int
    rows: Sequence[EvaluationRow]
    ranker: keras.Model | None = None
    fusion: CalibratedFusion | None = None
    newest: Newest | None = None
    held_out: "HeldOut | None" = None


@dataclass(frozen=True, slots=True)
class _Epoch:
    split: str
    number: int
    value: float
    rows: Sequence[EvaluationRow]


class BestEpoch:
    """The best epoch so far, in files beside the checkpoints, so that both are gone on from.

    Where the best epoch in `folder` is of another split, everything there is removed: its value was
    of other questions, and its embeddings are of other people.
    """

    def __init__(self, folder: Path | None, split: Split) -> None:
        self._folder = folder
        # In memory there is none of another split.
        self._split = "" if folder is None else _digest(split)
        self._best: _Epoch | None = None
        self._embeddings: dict[str, Embeddings] = {}
        best = self.read()
        if folder is not None and best is not None and best.split != self._split:
            shutil.rmtree(folder)

    def read(self) -> _Epoch | None:
        """Return the best epoch; None before the first."""
        if self._folder is None:
            return self._best
        try:
            read = orjson.loads((self._folder / "best-epoch.json").read_bytes())
        except FileNotFoundError:
            return None
        rows = [EvaluationRow(**row) for row in read["rows"]]
        return _Epoch(read.get("split", ""), read["number"], read["value"], rows)

    def embeddings(self, name: str) -> Embeddings:
        """Return "queries" or "candidates" of the epoch."""
        if self._folder is None:
            return self._embeddings[name]
        embeddings: Embeddings = np.load(self._folder / f"best-{name}.npy", allow_pickle=False)
        return embeddings

    def write(
        self, number: int, value: float, rows: Sequence[EvaluationRow], **embeddings: Embeddings
    ) -> None:
        """Keep the epoch, the best from now on, with its embeddings."""
        best = _Epoch(self._split, number, value, rows)
        if self._folder is None:
            self._best, self._embeddings = best, embeddings
            return
        # The number last: killed before it, the epoch is done again, and so are these.
        for name, each in embeddings.items():
            np.save(self._folder / f"best-{name}.npy", each, allow_pickle=False)
        with replacing(self._folder / "best-epoch.json") as file:
            file.write_bytes(orjson.dumps(best))


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What is held out, and what is asked about it.

    splits: those that the ranker may learn from, the newest first. judged: int64, the users of the
    newest one's past by whom a model is judged. tasks: its tasks, of these users alone; the last is
    'all', or the only one. tables: what was fitted on the pasts, for whoever asks again.
    """

    splits: Sequence[Split]
    judged: npt.NDArray[np.int64]
    tasks: Sequence[EvaluationTask]
    tables: FittedTables

    @property
    def split(self) -> Split:
        """The newest one, which models are judged by."""
        return self.splits[0]


def _digest(split: Split) -> str:
    """Return a hash of who is known of what, and of what is asked for."""
    digest = hashlib.sha256(split.past.digest().encode())
    asked = split.future["event_id"].sort().to_list()
    digest.update("\0".join(asked).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def hold_out(material: Material, start: Start) -> HeldOut | None:
    """Return what is held out of a training that begins so.

    None where nobody can be asked, or there is nothing before it to learn from.
    """
    settings = start.settings(material.settings)
    every = held_out_splits(material.events, material.items, settings, start.unseen_since)
    splits = list(islice(every, max(settings.ranking.slices, 1)))
    if not splits or not len(splits[0].tasks[-1].users) or not has_windows(splits[0].past):
        return None
    judged = _judged(splits[0].tasks[-1], settings)
    # Who returns to what they know is asked by one task only.
    asked = (task.of(np.flatnonzero(np.isin(task.users, judged))) for task in splits[0].tasks)
    tasks = [task for task in asked if len(task.users)]
    return HeldOut(splits, judged, tasks, FittedTables(material.text_embeddings_of))


def best_epoch(
    material: Material,
    start: Start,
    held_out: HeldOut,
    checkpoints: Path | None,
    on_step: Callable[[Progress], None],
    on_values: Callable[[int, Values], None] = lambda epoch, values: None,
) -> BestEpoch:
    """Train the two-tower on the past, and return the epoch that answers what is held out best.

    Its queries, float32 [num_users, dimension], are 0 of users who do not act in the future.
    on_values: called after every epoch with the number of epochs done and NDCG@10 of 'all', float64
    [num_users], of its users in their order.
    """
    split, tasks = held_out.split, held_out.tasks
    embeddings = material.text_embeddings_of(split.past.items)
    every = tasks[-1]
    kept = BestEpoch(checkpoints, split)
    judged = held_out.judged
    others = np.setdiff1d(split.returning, judged)

    def judge(epoch: int, model: TrainedModel) -> None:
        candidates = model.candidate_embeddings()
        queries = np.zeros((len(split.past.user_ids), candidates.shape[1]), np.float32)
        queries[judged] = model.query_embeddings(judged, candidates)
        scorer = EmbeddingScorer(TWO_TOWER, queries, candidates)
        values = ndcgs(answer(scorer, every).ranked)
        value = metrics.mean_of(values.tolist())
        best = kept.read()
        if best is None or value > best.value:
            rows = [evaluate(scorer, task, embeddings) for task in tasks]
            queries[others] = model.query_embeddings(others, candidates)
            kept.write(epoch, value, rows, queries=queries, candidates=candidates)
        on_values(epoch, values)

    material.trained(split.past, start, checkpoints=checkpoints, on_step=on_step, on_epoch=judge)
    return kept


def fit_list(
    held_out: HeldOut, newest: Newest, settings: TrainingSettings, service: ServiceSettings
) -> tuple[Learned, Scorer]:
    """Learn to order what is held out; return what was learned, and the list as a whole."""
    learned, data = Learned(), None
    if settings.ranking.enabled:
        learned = learn_to_rank(held_out, newest, settings, service)
        data = held_out.tables.of(held_out.split.past, settings.ranking)

    def pipeline(fusion: CalibratedFusion | None) -> PipelineScorer:
        return pipeline_scorer(
            CANDIDATE,
            held_out.split,
            None if data is None else replace(data, fusion=fusion),
            learned.ranker,
            newest.queries,
            newest.candidates,
            service,
        )

    if not learned.halves:
        return learned, pipeline(learned.fusion)
    (first, of_first), (_, of_others) = learned.halves
    return learned, CrossFittedScorer(CANDIDATE, first, pipeline(of_first), pipeline(of_others))


def learn_to_rank(
    held_out: HeldOut,
    newest: Newest,
    settings: TrainingSettings,
    service: ServiceSettings,
    sources: Sequence[Source] = SOURCES,
) -> Learned:
    """Return what is learned of what these sources propose, as `learn_to_order` does."""
    return learn_to_order(
        held_out.splits,
        newest,
        held_out.tables,
        settings.ranking,
        service,
        seed=settings.seed,
        sources=sources,
    )


def newest_of(held_out: HeldOut, best: BestEpoch) -> Newest:
    """Return what the best epoch's two-tower says of the newest split."""
    judged = {held_out.split.past.user_ids[user] for user in held_out.judged}
    return Newest(best.embeddings("queries"), best.embeddings("candidates"), judged)


def judge_epochs(
    material: Material,
    start: Start,
    current: Current | None,
    checkpoints: Path | None,
    on_step: Callable[[Progress], None],
    service: ServiceSettings,
) -> Judgement:
    """Train on what comes before what is held out, ask for it after each epoch, learn to rank it.

    The rows are of the best epoch's two-tower, of the baselines, of `current`, as `compared` asks
    it, and of the list as a whole, for users who have taught nothing of the newest split to the
    ranker or the fusion that they are asked by. Where nothing is held out, nobody can be asked for
    it, or nothing before it can be learned from, no training is done, and all epochs count as best.
    """
    settings = start.settings(material.settings)
    held_out = hold_out(material, start)
    if held_out is None:
        return Judgement(settings.epochs, ())
    kept = best_epoch(material, start, held_out, checkpoints, on_step)
    best = kept.read()
    assert best is not None, "a training has an epoch"
    newest = newest_of(held_out, kept)
    learned, pipeline = fit_list(held_out, newest, settings, service)
    if learned.fusion is not None:
        structlog.get_logger(__name__).info("fusion_calibrated", **learned.fusion.model_dump())
    past = held_out.split.past
    embeddings = material.text_embeddings_of(past.items)
    tasks = held_out.tasks
    rows = [evaluate(each, task, embeddings) for each in baselines(past) for task in tasks]
    if current is not None:
        rows += compared(current, held_out.split, tasks, embeddings)
    rows += [evaluate(pipeline, task, embeddings) for task in tasks]
    return Judgement(
        best.number, [*best.rows, *rows], learned.ranker, learned.fusion, newest, held_out
    )


def pipeline_scorer(
    name: str,
    split: Split,
    data: RankingData | None,
    ranker: keras.Model | None,
    queries: Embeddings,
    candidates: Embeddings,
    service: ServiceSettings,
) -> PipelineScorer:
    """Return the list as the service would make it for users of the split, as a scorer.

    queries: float32 [num_users, dimension]; candidates: float32 [num_items, dimension].
    """
    function = None if ranker is None else as_ranker(ranker)
    shop = PastShop(
        split.histories,
        (lambda rows: None) if data is None else ranking_of(data, function),
        candidates,
        service,
        moments=split.moments,
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
    path: Path, text_cache: TextEmbeddingCache, service: ServiceSettings
) -> Current | None:
    """Return the bundle that serves, which lies at `path`.

    None where its lists cannot be made any more: it has nothing to say.
    """
    try:
        bundle = load_to_ask(path)
    except BundleError as error:
        structlog.get_logger(__name__).warning("current_bundle_not_compared", reason=str(error))
        return None
    return Current(
        lambda split: bundle_pipeline(CURRENT, bundle, split, text_cache, service),
        bundle.manifest.data_window.end,
    )


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
