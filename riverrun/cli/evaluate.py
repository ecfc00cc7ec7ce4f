"""`riverrun evaluate`: the two-tower beside the simple recommenders, on a split by time."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from feature_repo.times import INSTANT
from riverrun.bench.machine import describe_machine
from riverrun.cli.console import err, out
from riverrun.cli.metrics_tables import print_tables
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.cli.preset_data import (
    NO_RECENT_POPULARITY,
    DataOption,
    JsonOption,
    PresetOption,
    check_output,
    check_preset,
    read_preset,
)
from riverrun.cli.slices_table import slices_table
from riverrun.errors import UserError
from riverrun.served_bundle import served_bundle
from riverrun.settings import Settings, load_settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from trainer.baselines import Scorer
    from trainer.evaluate import EvaluationRow
    from trainer.ranking.service_settings import ServiceSettings
    from trainer.settings import TrainingSettings
    from trainer.tasks import Split


def evaluate(
    preset: PresetOption = None,
    data: DataOption = None,
    validation: Annotated[
        bool,
        typer.Option(
            "--validation",
            help="With --preset: ask about the validation slice, which settings may be chosen on.",
        ),
    ] = False,
    served: Annotated[
        bool,
        typer.Option(
            "--served",
            help="Judge the bundle that serves by what happened after its training; train nothing.",
        ),
    ] = False,
    slices: Annotated[
        bool,
        typer.Option(
            "--slices",
            help="Also by how much is known of the user and of the item; newcomers are asked "
            "too, after a second training.",
        ),
    ] = False,
    json: JsonOption = None,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Train on the past, ask about the future, and print the model beside simple recommenders.

    With `--preset`, on a public data set by its published protocol, with the settings chosen for it
    and the defaults of all others, whatever this shop's are (but for `training.precision` and
    `training.strategy`):

        riverrun evaluate --preset online-retail --data online_retail.csv.gz

    Without, on the archive of this shop, whose newest slice is the future.
    """
    settings = load_settings(settings_file, home=home)
    _check_options(preset, data, json, validation=validation, served=served)
    start = time.monotonic()
    if served:
        evaluations = _served(settings, with_slices=slices)
    elif preset is None:
        evaluations = _trained(_own_question(settings), settings, with_slices=slices)
    else:
        question = _preset_question(preset, data, settings, validation=validation)
        evaluations = _trained(question, settings, with_slices=slices)
    for each in evaluations:
        split = each.split
        print_tables(each.rows)
        for task, methods in each.slices.items():
            out.print(slices_table(task, methods))
        out.print(
            f"{len(split.past.items):,} items, {len(split.past.user_ids):,} users, "
            f"{len(split.past.item):,} events in the past; {each.model}, "
            f"all in {time.monotonic() - start:.0f} s"
        )
    if not all(each.has_times for each in evaluations):
        out.print(NO_RECENT_POPULARITY)
    out.print(describe_machine(with_gpus=True))
    if json is not None:
        document = [entry for each in evaluations for entry in _document(each)]
        json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


@dataclass(frozen=True)
class _Question:
    """Past and future, and what to train and to make lists with.

    everyone: makes a split that also asks about newcomers and new items; None where `split` does so
    itself. has_times: whether timestamps are times, and not positions in a sequence.
    """

    split: "Split"
    training: "TrainingSettings"
    service: "ServiceSettings"
    everyone: "Callable[[], Split] | None"
    has_times: bool = True

    def asked(self, *, with_slices: bool) -> "list[tuple[Split, bool]]":
        """Return the splits to ask, and whether each is sliced; slices are those of everyone."""
        if not with_slices or self.everyone is None:
            return [(self.split, with_slices)]
        return [(self.split, False), (self.everyone(), True)]


@dataclass(frozen=True)
class _Evaluation:
    """The metrics of one split, and in words which model was asked.

    slices: by task, for each scorer the rows of all slices. has_times: as in the question.
    """

    split: "Split"
    rows: "Sequence[EvaluationRow]"
    slices: "Mapping[str, Sequence[Sequence[EvaluationRow]]]"
    model: str
    has_times: bool


def _document(evaluation: _Evaluation) -> list[dict[str, Any]]:
    document: list[dict[str, Any]] = []
    for row in evaluation.rows:
        entry = {"task": row.task, "scorer": row.scorer, "users": row.num_users, **row.metrics}
        for parts in evaluation.slices.get(row.task, ()):
            if parts[0].scorer == row.scorer:
                entry["slices"] = {
                    part.task: {"users": part.num_users, **part.metrics} for part in parts
                }
        document.append(entry)
    return document


def _check_options(
    preset: str | None, data: Path | None, json: Path | None, *, validation: bool, served: bool
) -> None:
    """Refuse what does not go together before minutes are spent on it."""
    if served and preset is not None:
        raise UserError("--served judges this shop's own bundle: leave out --preset.")
    check_preset(preset, data, validation=validation)
    check_output("--json", json)


def _preset_question(
    preset: str, data: Path | None, settings: Settings, *, validation: bool
) -> _Question:
    protocol, loaded = read_preset(preset, data)
    split = (protocol.validation if validation else protocol.test)(loaded)
    everyone = protocol.everyone_validation if validation else protocol.everyone_test
    return _Question(
        split,
        protocol.of_shop(settings).training,
        protocol.service,
        None if everyone is None else partial(everyone, loaded),
        protocol.has_times,
    )


def _own_question(settings: Settings, cut: datetime | None = None) -> _Question:
    """Split the archive at `cut`; without it, before the slice that a training would hold out."""
    from feature_repo.archive import Archive
    from trainer.held_out_splits import held_out_splits, newest_cut
    from trainer.interactions import EVENT_COLUMNS, Interactions
    from trainer.tasks import everyone_split, temporal_split

    archive = Archive(settings.archive)
    events = archive.scan_events().select(EVENT_COLUMNS).collect()
    items = archive.items()
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

    def everyone() -> "Split":
        at = cut or newest_cut(Interactions.from_frame(events, items), settings.training)
        return everyone_split(events, items, at, weightless=settings.training.weightless)

    by_time = cut is not None or settings.training.holdout == "newest"
    return _Question(
        split, settings.training, settings.service_settings, everyone if by_time else None
    )


def _trained(question: _Question, settings: Settings, *, with_slices: bool) -> list[_Evaluation]:
    """Train on the past of each split as a refresh does, and evaluate on its future."""
    from riverrun.cli.training_progress import refresh_progress
    from serving.text_embedding_cache import TextEmbeddingCache
    from trainer.fitted_pipeline import fit_pipeline
    from trainer.training_input_error import TrainingInputError

    evaluations = []
    for split, sliced in question.asked(with_slices=with_slices):
        with (
            closing(TextEmbeddingCache(settings.text_embeddings)) as cache,
            refresh_progress() as listener,
        ):
            try:
                fitted = fit_pipeline(split, question.training, question.service, cache, listener)
            except TrainingInputError as error:
                raise UserError(str(error)) from error
            listener.stage("Evaluating")
            ranker = "" if fitted.judgement.ranker is None else ", and a ranker"
            model = (
                f"two-tower of {fitted.judgement.epochs} epochs of {fitted.epoch_seconds:.2f} s"
                f"{ranker} trained in {fitted.seconds:.0f} s, {fitted.text_seconds:.1f} s of them "
                "to embed texts"
            )
            models: list[Scorer] = [fitted.two_tower, fitted.pipeline]
            embeddings = fitted.text_embeddings
            evaluations.append(
                _evaluation(
                    split,
                    models,
                    embeddings,
                    model,
                    with_slices=sliced,
                    has_times=question.has_times,
                    weightless=question.training.weightless,
                )
            )
        err.print()
    return evaluations


def _served(settings: Settings, *, with_slices: bool) -> list[_Evaluation]:
    """Evaluate the bundle that serves on what happened after the last event it was trained on."""
    from serving.bundle import BundleError
    from serving.text_embedding_cache import TextEmbeddingCache
    from trainer.bundle_scorer import BundleScorer, bundle_pipeline, load_to_ask
    from trainer.comparison import CANDIDATE
    from trainer.scorers import TWO_TOWER

    path = served_bundle(settings)
    try:
        bundle = load_to_ask(path)
    except BundleError as error:
        raise UserError(str(error)) from error
    end = bundle.manifest.data_window.end
    if end is None:
        raise UserError(f"{path} does not say when the events that it was trained on end.")
    model = f"bundle {path.name} trained on events until {end:%Y-%m-%d %H:%M} UTC"
    question = _own_question(settings, end + INSTANT)
    evaluations = []
    with closing(TextEmbeddingCache(settings.text_embeddings)) as cache:
        for split, sliced in question.asked(with_slices=with_slices):
            scorer = BundleScorer(bundle, split.histories, cache, TWO_TOWER)
            embeddings = scorer.encoder.encode_text([item.text for item in split.past.items])
            pipeline = bundle_pipeline(CANDIDATE, bundle, split, cache, settings.service_settings)
            models: list[Scorer] = [scorer, pipeline]
            weightless = question.training.weightless
            evaluations.append(
                _evaluation(
                    split, models, embeddings, model, with_slices=sliced, weightless=weightless
                )
            )
    return evaluations


def _evaluation(
    split: "Split",
    models: "Sequence[Scorer]",
    features: "npt.NDArray[np.float32] | None",
    model: str,
    *,
    with_slices: bool,
    has_times: bool = True,
    weightless: Collection[str] = (),
) -> _Evaluation:
    """Evaluate the models, and the baselines that mean something here, on every task."""
    from trainer.baselines import baselines, timeless_baselines
    from trainer.evaluate import evaluate
    from trainer.slices import slices

    simple = baselines if has_times else timeless_baselines
    past, histories = (each.without(weightless) for each in (split.past, split.histories))
    scorers = [*simple(past, histories), *models]
    rows = [evaluate(scorer, task, features) for task in split.tasks for scorer in scorers]
    sliced: dict[str, list[list[EvaluationRow]]] = {}
    for task in split.tasks if with_slices else ():
        parts = slices(task, split.past)
        sliced[task.name] = [[evaluate(each, part) for part in parts] for each in scorers]
    return _Evaluation(split, rows, sliced, model, has_times)
