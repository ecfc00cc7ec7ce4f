"""Chooses how many epochs to train for, by what is held out of the events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from serving.ranking.calibrated_fusion import CalibratedFusion
from trainer.baselines import Scorer, baselines
from trainer.best_epoch import best_epoch
from trainer.comparison import CANDIDATE, Current, compared
from trainer.evaluate import EvaluationRow, evaluate
from trainer.held_out import HeldOut, hold_out
from trainer.material import Material
from trainer.ranking.learning_to_rank import Learned, Newest, learn_to_rank, no_ranker
from trainer.ranking.pipeline_scorer import CrossFittedScorer, PipelineScorer
from trainer.ranking.service_settings import ServiceSettings
from trainer.scorers import pipeline_scorer
from trainer.settings import TrainingSettings
from trainer.train import Progress


@dataclass(frozen=True, slots=True, eq=False)
class RankingLessons:
    """What is learned to rank from: what is held out, and what a two-tower says of the newest."""

    held_out: HeldOut
    newest: Newest

    def learn(self, settings: TrainingSettings, service: ServiceSettings) -> Learned:
        """Learn to rank as `learn_to_rank` does."""
        return learn_to_rank(
            self.held_out.splits,
            self.newest,
            self.held_out.tables,
            settings.ranking,
            service,
            seed=settings.seed,
        )

    def fit_list(
        self, settings: TrainingSettings, service: ServiceSettings
    ) -> tuple[Learned, Scorer]:
        """Learn to rank; return what was learned, and the list as a scorer."""
        learned, data, split = Learned(), None, self.held_out.split
        if settings.ranking.enabled:
            learned = self.learn(settings, service)
            data = self.held_out.tables.of(split.past, settings.ranking)

        def pipeline(fusion: CalibratedFusion | None) -> PipelineScorer:
            return pipeline_scorer(
                CANDIDATE,
                split,
                None if data is None else replace(data, fusion=fusion),
                learned.ranker,
                self.newest.queries,
                self.newest.candidates,
                service,
            )

        if not learned.halves:
            return learned, pipeline(learned.fusion)
        (first, of_first), (_, of_others) = learned.halves
        return learned, CrossFittedScorer(CANDIDATE, first, pipeline(of_first), pipeline(of_others))


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """The number of epochs to train for, and the evaluation of what was held out.

    taught_by: what `learned` was learned from; None where nothing was held out.
    """

    epochs: int
    rows: Sequence[EvaluationRow]
    learned: Learned
    taught_by: RankingLessons | None = None


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
            return Judgement(settings.epochs, (), Learned())
        why = (
            "nobody could be asked about what was held out, or nothing before it teaches anything."
        )
        learned = Learned(no_ranker=no_ranker(settings.ranking, why))
        return Judgement(settings.epochs, (), learned)
    best, newest = best_epoch(material, held_out, checkpoints, on_step)
    lessons = RankingLessons(held_out, newest)
    learned, pipeline = lessons.fit_list(settings, service)
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
    return Judgement(best.number, [*best.rows, *rows], learned, lessons)
