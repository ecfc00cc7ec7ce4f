"""One refresh: from events and items to a published bundle that serves."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import keras
import polars as pl

from feature_repo.offline_features import OfflineFeatures
from feature_repo.schema import Item
from serving.bundle import (
    current_version,
    is_published,
    made_at,
    new_version,
    published_versions,
    set_current,
)
from serving.ranking.calibrated_fusion import CalibratedFusion
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.bundle_checks import check_bundle
from trainer.evaluate import EvaluationRow
from trainer.export import export_bundle
from trainer.gate_settings import GateSettings
from trainer.gates import CANDIDATE, refusals
from trainer.judging import current_scorer, judge_epochs
from trainer.listener import Listener
from trainer.material import read_material
from trainer.ranking.fit import fit_tables
from trainer.ranking.ranker import read_ranker, write_ranker
from trainer.ranking.service_settings import ServiceSettings
from trainer.resuming import (
    CHOICE,
    START,
    VERSION,
    Notes,
    events_as_begun,
    noted_start,
    own_checkpoints,
)
from trainer.settings import TrainingSettings
from trainer.start import choose_start

RANKER_WEIGHTS = "ranker.safetensors"


@dataclass(frozen=True, slots=True)
class RefreshOutcome:
    """What came of it: the bundle, how the model did on what was held out, and why not to serve.

    `start` says what the training went on from. `refusals` is empty where the bundle serves now.
    """

    bundle: Path
    epochs: int
    rows: Sequence[EvaluationRow]
    refusals: Sequence[str] = ()
    start: str = ""


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
    service: ServiceSettings | None = None,
    notes: Notes | None = None,
) -> RefreshOutcome:
    """Train on `events` and serve the result, if it passes the gates.

    `features` makes the point-in-time join: of no example is more shown than was known then.

    1. Embed the catalogue's texts, those that the cache lacks, and find what to go on from.
    2. Hold out the newest events; train on what is before them, and keep the number of epochs
       whose model answers them best. Learn from it how to rank what all sources propose, and
       calibrate the fusion that orders where no ranker does. Ask the list as a whole, the current
       bundle and the baselines the same.
    3. Train on everything for so many epochs, and export: published, but not served.
    4. Check the bundle as a server would, and hold both against the gates.
    5. Make it the current bundle.

    A failure at any step leaves the current bundle serving.

    `checkpoints` is a folder to resume an interrupted training from; it belongs to one refresh at a
    time, and nothing goes on from what another has left there. `gates` are what the bundle
    must reach to serve; without them every bundle serves. `service` says how lists
    are made, and how the index that is checked is built. `notes` are what earlier tries of this
    refresh have found out, as JSON: the steps that they finished are not done again, as long as
    what they found holds (`trainer.resuming.noted_start`), and of `events` those are learned from
    that there were when it began.

    Raises:
        ValueError: there is nothing to learn from; the message says what is missing.
    """
    listener = listener or Listener()
    service = service or ServiceSettings()
    start = None
    if notes is not None:
        start = noted_start(notes, checkpoints, bundles, settings, service)
        events = events if checkpoints is None else events_as_begun(events, checkpoints)
    elif checkpoints is not None:
        own_checkpoints(checkpoints)
    notes = {} if notes is None else notes
    # 1.
    listener.stage("Embedding texts")
    material = read_material(events, items, settings, features, text_cache, listener.progress)
    interactions, embeddings = material.interactions, material.text_embeddings
    if start is None:
        start = choose_start(bundles, settings, interactions)
        notes[START] = {"version": start.version, "reason": start.reason}
    # 2.
    ranker: keras.Model | None = None
    if CHOICE not in notes:
        if settings.holdout_share:
            listener.stage("Training, the newest events held out")
        choice = judge_epochs(
            material,
            start,
            current_scorer(bundles, text_cache, service) if gates else None,
            _folder(checkpoints, "held-out"),
            listener.step,
            service,
        )
        ranker = choice.ranker
        if ranker is not None and checkpoints is not None:
            write_ranker(ranker, checkpoints / RANKER_WEIGHTS)
        notes[CHOICE] = {
            "epochs": choice.epochs,
            "rows": [asdict(row) for row in choice.rows],
            "ranker": ranker is not None,
            "fusion": choice.fusion and choice.fusion.model_dump(),
        }
        del choice  # It holds what was learned from: memory that the next training has use for.
    epochs = int(notes[CHOICE]["epochs"])
    rows = [EvaluationRow(**row) for row in notes[CHOICE]["rows"]]
    calibrated = notes[CHOICE]["fusion"]
    fusion = calibrated and CalibratedFusion.model_validate(calibrated)
    # 3.
    version = str(notes.setdefault(VERSION, new_version(_after_published(bundles, now))))
    bundle = bundles / version
    if not is_published(bundle):
        listener.stage("Training on everything")
        model = material.trained(
            interactions,
            start,
            checkpoints=_folder(checkpoints, "full"),
            on_step=listener.step,
            # The schedule stays that of the validated training: stopped where that was best.
            stop_after=epochs,
        )
        if ranker is None and notes[CHOICE]["ranker"] and checkpoints is not None:
            ranker = read_ranker(checkpoints / RANKER_WEIGHTS, settings.ranking)
        listener.stage("Exporting")
        export_bundle(
            model,
            bundles,
            now,
            version=version,
            parent=start.version or current_version(bundles),
            start=str(start),
            metrics=_metrics(rows),
            ranking=(
                replace(fit_tables(interactions, embeddings, settings.ranking), fusion=fusion)
                if settings.ranking.enabled
                else None
            ),
            ranker=ranker,
        )
    # 4.
    if gates:
        listener.stage("Checking the bundle")
        checks = check_bundle(bundle, interactions, service.serving, text_cache)
        if reasons := refusals(rows, checks, gates):
            return RefreshOutcome(bundle, epochs, rows, reasons, str(start))
    # 5.
    set_current(bundles, version)
    return RefreshOutcome(bundle, epochs, rows, start=str(start))


def _after_published(bundles: Path, now: datetime) -> datetime:
    """Return `now`, or the moment after the newest bundle where the clock went back since.

    Names sort by age, and that is what rolling back and keeping the newest go by.
    """
    newest = max(map(made_at, published_versions(bundles)), default=None)
    if newest is None or newest < now.replace(microsecond=0):
        return now
    return newest + timedelta(seconds=1)


def _metrics(rows: Sequence[EvaluationRow]) -> dict[str, float]:
    return {
        name: value
        for row in rows
        if row.scorer == CANDIDATE
        for name, value in row.named_metrics.items()
    }


def _folder(checkpoints: Path | None, name: str) -> Path | None:
    return None if checkpoints is None else checkpoints / name
