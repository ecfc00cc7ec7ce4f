"""Asks recommenders about the future of a past: a model trained on it, or the one that serves."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice

import numpy as np
import numpy.typing as npt

from feature_repo.archive import Archive
from feature_repo.times import INSTANT
from riverrun.errors import UserError
from riverrun.importing import PresetData
from riverrun.protocols import EvaluationProtocol
from riverrun.readable_archive import readable
from riverrun.served_bundle import served_bundle
from riverrun.settings import Settings
from serving.bundle import BundleError
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.baselines import Scorer, baselines, timeless_baselines
from trainer.bundle_scorer import BundleScorer, bundle_pipeline, load_to_ask
from trainer.comparison import CANDIDATE
from trainer.evaluate import EvaluationRow, evaluate
from trainer.fitted_pipeline import FittedPipeline, fit_pipeline
from trainer.held_out_splits import held_out_splits, newest_cut
from trainer.interactions import EVENT_COLUMNS, Interactions, happened_by
from trainer.listener import Listener
from trainer.ranking.service_settings import ServiceSettings
from trainer.scorers import TWO_TOWER
from trainer.settings import TrainingSettings
from trainer.slices import slices
from trainer.tasks import Split, everyone_split, temporal_split
from trainer.training_input_error import TrainingInputError

Listening = Callable[[], AbstractContextManager[Listener]]
"""Gives what hears how a training goes, for as long as it goes."""


@dataclass(frozen=True)
class Question:
    """Past and future, and what to train and to make lists with.

    everyone: makes a split that also asks about newcomers and new items; None where `split` does so
    itself. has_times: whether timestamps are times, and not positions in a sequence.
    """

    split: Split
    training: TrainingSettings
    service: ServiceSettings
    everyone: Callable[[], Split] | None
    has_times: bool = True

    def asked(self, *, with_slices: bool) -> list[tuple[Split, bool]]:
        """Return the splits to ask, and whether each is sliced; slices are those of everyone."""
        if not with_slices or self.everyone is None:
            return [(self.split, with_slices)]
        return [(self.split, False), (self.everyone(), True)]


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one split, and in words which model was asked.

    slices: by task, for each scorer the rows of all slices. has_times: as in the question.
    """

    split: Split
    rows: Sequence[EvaluationRow]
    slices: Mapping[str, Sequence[Sequence[EvaluationRow]]]
    model: str
    has_times: bool


def preset_question(
    protocol: EvaluationProtocol, data: PresetData, settings: Settings, *, validation: bool
) -> Question:
    """Split a public data set as its protocol does.

    validation: whether to ask about the slice that settings may be chosen on.
    """
    held_out = protocol.held_out(validation=validation)
    return Question(
        held_out.split(data),
        protocol.of_shop(settings).training,
        protocol.service,
        None if held_out.everyone is None else partial(held_out.everyone, data),
        protocol.has_times,
    )


def shop_question(settings: Settings, cut: datetime | None = None) -> Question:
    """Split the archive at `cut`; without it, before the slice that a training would hold out.

    Events that are still to come are left out.

    Raises `UserError` where there is nothing to ask about.
    """
    archive = Archive(settings.archive)
    with readable(archive):
        events = archive.events.scan().select(EVENT_COLUMNS).collect()
        events, items = happened_by(events, datetime.now(UTC)), archive.items()
    if cut is not None:
        split = temporal_split(events, items, cut, weightless=settings.training.weightless)
    elif not settings.training.holdout_share:
        raise UserError("training.holdout_share is 0, so nothing is held out to ask about.")
    elif not (splits := list(islice(held_out_splits(events, items, settings.training), 1))):
        raise UserError(
            f"{settings.archive} holds no event on a known item that another follows: "
            "`riverrun import` brings them in."
        )
    else:
        split = splits[0]
    if not any(len(task.users) for task in split.tasks):
        # A bundle has learned from everything until its training.
        other = "" if cut is None else " Until then, ask a model that has not: without --served."
        raise UserError(
            f"{settings.archive}: nobody who acted until {split.past.end:%Y-%m-%d %H:%M} UTC acted "
            f"on a known item afterwards, so there is nothing to ask about.{other}"
        )

    def everyone() -> Split:
        at = cut or newest_cut(Interactions.from_frame(events, items), settings.training)
        return everyone_split(events, items, at, weightless=settings.training.weightless)

    by_time = cut is not None or settings.training.holdout == "newest"
    return Question(
        split, settings.training, settings.service_settings, everyone if by_time else None
    )


def evaluate_trained(
    question: Question, settings: Settings, listening: Listening, *, with_slices: bool
) -> list[Evaluation]:
    """Train on the past of each split as a refresh does, and evaluate on its future.

    Raises `UserError` where there is nothing to learn from.
    """
    evaluations = []
    for split, sliced in question.asked(with_slices=with_slices):
        with listening() as listener:
            fitted = fitted_on(split, question, settings, listener)
            listener.stage("Evaluating")
            ranker = "" if fitted.judgement.learned.ranker is None else ", and a ranker"
            model = (
                f"two-tower of {fitted.judgement.epochs} epochs of {fitted.epoch_seconds:.2f} s"
                f"{ranker} trained in {fitted.seconds:.0f} s, {fitted.text_seconds:.1f} s of them "
                "to embed texts"
            )
            models: list[Scorer] = [fitted.two_tower, fitted.pipeline]
            evaluations.append(
                evaluate_models(
                    question, split, models, fitted.text_embeddings, model, with_slices=sliced
                )
            )
    return evaluations


def fitted_on(
    split: Split, question: Question, settings: Settings, listener: Listener
) -> FittedPipeline:
    """Fit all that makes a list on the past of one of the question's splits.

    Raises `UserError` where there is nothing to learn from.
    """
    with closing(TextEmbeddingCache(settings.text_embeddings)) as cache:
        try:
            return fit_pipeline(split, question.training, question.service, cache, listener)
        except TrainingInputError as error:
            raise UserError(str(error)) from error


def evaluate_served(settings: Settings, *, with_slices: bool) -> list[Evaluation]:
    """Evaluate the bundle that serves on what happened after the last event it was trained on.

    Raises `UserError` where none serves, or nothing has happened since.
    """
    path = served_bundle(settings)
    try:
        bundle = load_to_ask(path)
    except BundleError as error:
        raise UserError(str(error)) from error
    end = bundle.manifest.data_window.end
    if end is None:
        raise UserError(f"{path} does not say when the events that it was trained on end.")
    model = f"bundle {path.name} trained on events until {end:%Y-%m-%d %H:%M} UTC"
    question = shop_question(settings, end + INSTANT)
    evaluations = []
    with closing(TextEmbeddingCache(settings.text_embeddings)) as cache:
        for split, sliced in question.asked(with_slices=with_slices):
            scorer = BundleScorer(bundle, split.histories, cache, TWO_TOWER)
            embeddings = scorer.encoder.encode_text([item.text for item in split.past.items])
            pipeline = bundle_pipeline(CANDIDATE, bundle, split, cache, settings.service_settings)
            models: list[Scorer] = [scorer, pipeline]
            evaluations.append(
                evaluate_models(question, split, models, embeddings, model, with_slices=sliced)
            )
    return evaluations


def evaluate_models(
    question: Question,
    split: Split,
    models: Sequence[Scorer],
    features: npt.NDArray[np.float32] | None,
    model: str,
    *,
    with_slices: bool,
) -> Evaluation:
    """Evaluate the models, and the baselines that mean something here, on every task.

    split: one of the question's. features: float32 [num_items, n] to measure diversity by; None
    where there is nothing to. model: says in words which model was asked.
    """
    simple = partial(baselines, moments=split.moments) if question.has_times else timeless_baselines
    # Baselines do not count what no answer is.
    weightless = question.training.weightless
    past, histories = (each.without(weightless) for each in (split.past, split.histories))
    scorers = [*simple(past, histories), *models]
    rows = [evaluate(scorer, task, features) for task in split.tasks for scorer in scorers]
    sliced: dict[str, list[list[EvaluationRow]]] = {}
    for task in split.tasks if with_slices else ():
        parts = slices(task, split.past)
        sliced[task.name] = [[evaluate(each, part) for part in parts] for each in scorers]
    return Evaluation(split, rows, sliced, model, question.has_times)
