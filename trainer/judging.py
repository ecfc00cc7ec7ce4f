"""Chooses how many epochs to train for, by what is held out of the events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from serving.ranking.calibrated_fusion import CalibratedFusion
from trainer.baselines import Scorer, baselines
from trainer.best_epoch import BestEpoch, best_epoch
from trainer.comparison import CANDIDATE, Current, compared
from trainer.evaluate import EvaluationRow, evaluate
from trainer.held_out import HeldOut, hold_out
from trainer.import_keras import keras
from trainer.material import Material
from trainer.ranking.learning_to_rank import Learned, Newest, learn_to_rank, no_ranker
from trainer.ranking.pipeline_scorer import CrossFittedScorer, PipelineScorer
from trainer.ranking.service_settings import ServiceSettings
from trainer.scorers import pipeline_scorer
from trainer.settings import TrainingSettings
from trainer.train import Progress


@dataclass(frozen=True, slots=True)
class Judgement:
    """The number of epochs to train for, and the evaluation of what was held out.

    ranker, fusion: None where there was too little data to learn them from. newest, held_out: the
    data that both were learned from; None where nothing was held out. no_ranker: why there is no
    ranker, for people; empty where there is one, or none is asked for.
    """

    epochs: int
    rows: Sequence[EvaluationRow]
    ranker: keras.Model | None = None
    fusion: CalibratedFusion | None = None
    newest: Newest | None = None
    held_out: HeldOut | None = None
    no_ranker: str = ""


def fit_list(
    held_out: HeldOut, newest: Newest, settings: TrainingSettings, service: ServiceSettings
) -> tuple[Learned, Scorer]:
    """Learn to rank from what is held out; return what was learned, and the list as a scorer."""
    learned, data = Learned(), None
    if settings.ranking.enabled:
        learned = learn_from_held_out(held_out, newest, settings, service)
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


def learn_from_held_out(
    held_out: HeldOut,
    newest: Newest,
    settings: TrainingSettings,
    service: ServiceSettings,
) -> Learned:
    """Learn to rank, as `learn_to_rank` does, from the splits that are held out."""
    return learn_to_rank(
        held_out.splits,
        newest,
        held_out.tables,
        settings.ranking,
        service,
        seed=settings.seed,
    )


def newest_of(held_out: HeldOut, best: BestEpoch) -> Newest:
    """Return what the best epoch's two-tower says of the newest split."""
    judged = {held_out.split.past.user_ids[user] for user in held_out.judged}
    return Newest(best.embeddings("queries"), best.embeddings("candidates"), judged)


def judge_epochs(
    material: Material,
    current: Current | None,
    checkpoints: Path | None,
    on_step: Callable[[Progress], None],
    service: ServiceSettings,
) -> Judgement:
    """Train on the events before the held-out ones, evaluate after each epoch, learn to rank.

    The rows are those of the best epoch's two-tower, of the baselines, of `current`, as `compared`
    evaluates it, and of the list as a whole. A user's list is made by a ranker or fusion that has
    learned nothing from this user's events of the newest split. Where nothing is held out, no user
    can be asked about it, or nothing before it can be learned from, no training is done, and the
    number of epochs is that of the settings.
    """
    settings = material.settings
    held_out = hold_out(material)
    if held_out is None:
        if not (settings.holdout_share and settings.ranking.enabled):
            return Judgement(settings.epochs, ())
        why = (
            "nobody could be asked about what was held out, or nothing before it teaches anything."
        )
        return Judgement(settings.epochs, (), no_ranker=no_ranker(settings.ranking, why))
    kept = best_epoch(material, held_out, checkpoints, on_step)
    best = kept.read()
    assert best is not None, "a training has an epoch"
    newest = newest_of(held_out, kept)
    learned, pipeline = fit_list(held_out, newest, settings, service)
    if learned.fusion is not None:
        structlog.get_logger(__name__).info("fusion_calibrated", **learned.fusion.model_dump())
    past = held_out.split.past
    embeddings = material.text_embeddings_of(past.items)
    tasks = held_out.tasks
    simple = baselines(past.without(settings.weightless))
    rows = [evaluate(each, task, embeddings) for each in simple for task in tasks]
    if current is not None:
        rows += compared(current, held_out.split, tasks, embeddings)
    rows += [evaluate(pipeline, task, embeddings) for task in tasks]
    return Judgement(
        best.number,
        [*best.rows, *rows],
        learned.ranker,
        learned.fusion,
        newest,
        held_out,
        learned.no_ranker,
    )
