"""One refresh: from events and items to a published bundle that serves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import structlog

from serving.bundle import BundleError, read_items, verify
from serving.published_bundles import is_published, set_current
from trainer.evaluate import EvaluationRow
from trainer.interactions import happened_by
from trainer.refresh.bundle_versions import delete, next_version, readable_current
from trainer.refresh.gates import left_open, refusals
from trainer.refresh.inputs import RefreshInputs
from trainer.refresh.notes import NotedStart
from trainer.refresh.resuming import RefreshCheckpoint
from trainer.refresh.runs_file import RunsFile
from trainer.refresh.steps import RefreshSteps


@dataclass(frozen=True, slots=True)
class RefreshOutcome:
    """What came of a refresh.

    rows: how the model, the current bundle and the baselines did on what was held out.
    refusals: why the bundle does not serve; empty where it serves now.
    start: what the training went on from, in words.
    left_open: which gates of quality were not asked, and why, as where the current bundle cannot be
        compared; empty where all were asked, or there are none.
    no_ranker: why no ranker was trained; empty where one was, or none is asked for.
    """

    bundle: Path
    epochs: int
    rows: Sequence[EvaluationRow]
    refusals: Sequence[str] = ()
    start: str = ""
    left_open: str = ""
    no_ranker: str = ""


def refresh(
    events: pl.DataFrame, inputs: RefreshInputs, steps: RefreshSteps, checkpoint: RefreshCheckpoint
) -> RefreshOutcome:
    """Train on `events` and serve the result, if it passes the gates.

    1. Embed the catalogue's texts, those that the cache lacks, and find what to go on from.
    2. Hold out the newest events; train on what is before them, and keep the number of epochs
       whose model answers them best. Learn from it how to rank what all sources propose, and
       calibrate the fusion that orders where no ranker does. Ask the list as a whole, the current
       bundle and the baselines the same.
    3. Train on everything for so many epochs, and export with the catalogue as it is by then: what
       came, changed or went meanwhile is in it. Published, but not served.
    4. Check the bundle as a server would, and hold both against the gates. One that is broken
       passes none.
    5. Make it the current bundle. Not where there are gates and another bundle, with which it was
       not compared, has become current meanwhile. Nor where an earlier try of this refresh has made
       it serve, before it was killed or failed, and it was rolled back from since.

    A failure at any step leaves the current bundle serving.

    Events later than `inputs.now` wait for another refresh.

    `steps` are of these `inputs`. `checkpoint` is what earlier tries of this refresh have left: the
    steps that they finished are not done again, as long as what they found holds. A bundle that
    they have exported is exported again where it is broken now, or items have changed since.

    Raises:
        TrainingInputError: there is nothing to learn from; the message says what is missing.
    """
    begun = checkpoint.resume(happened_by(events, inputs.now), inputs)
    # 1.
    material = steps.prepare(begun)
    checkpoint.notes = replace(checkpoint.notes, start=NotedStart.of(material.start))
    # 2.
    choice = checkpoint.notes.choice
    if choice is None:
        choice = steps.judge(material, checkpoint)
        checkpoint.notes = replace(checkpoint.notes, choice=choice)
    # 3.
    version = checkpoint.notes.version
    if version is None:
        version = next_version(inputs.bundles, inputs.now)
        checkpoint.notes = replace(checkpoint.notes, version=version)
    bundle = inputs.bundles / version
    if is_published(bundle) and inputs.current != bundle and not _holds(bundle, inputs):
        delete(inputs.bundles, version)
    if not is_published(bundle):
        steps.publish(material, choice, version, checkpoint)
    # 4.
    outcome = RefreshOutcome(
        bundle,
        choice.epochs,
        choice.rows,
        start=str(material.start),
        left_open=_left_open(choice.rows, inputs, bundle),
        no_ranker=choice.no_ranker,
    )
    # What serves already has passed them, in a try that was killed afterwards: it is not to be
    # refused because it is measured a second time.
    if inputs.gates and inputs.current != bundle:
        try:
            checks = steps.check(material, version)
        except BundleError as error:
            return replace(outcome, refusals=[f"it is broken: {error}"])
        left_open = outcome.left_open
        checkpoint.notes = replace(checkpoint.notes, checks=checks, left_open=left_open)
        if reasons := refusals(choice.rows, checks, inputs.gates):
            return replace(outcome, refusals=reasons)
    # 5.
    serving = readable_current(inputs.bundles)
    # Where it is not known what serves, nobody has chosen another one.
    if inputs.gates and serving is not None and serving not in (inputs.current, bundle):
        return replace(outcome, refusals=[_overtaken(serving.name, inputs.current)])
    if version in RunsFile(inputs.bundles).rolled_back_from():
        return replace(
            outcome, refusals=[f"it served already, and {version} was rolled back from."]
        )
    set_current(inputs.bundles, version)
    return outcome


def _left_open(rows: Sequence[EvaluationRow], inputs: RefreshInputs, bundle: Path) -> str:
    if inputs.gates is None:
        return ""
    # Where its own bundle serves already, the rows compare it with the one before.
    current = inputs.current if inputs.current != bundle else None
    return left_open(rows, inputs.gates, current.name if current else None)


def _holds(bundle: Path, inputs: RefreshInputs) -> bool:
    """Whether what an earlier try has exported is whole, and of the catalogue as it is now."""
    try:
        verify(bundle)
        # One that has served stays as it was: others know it by its version.
        if inputs.latest is None or _has_served(bundle, RunsFile(inputs.bundles)):
            return True
        if list(read_items(bundle)) == list(inputs.latest()):
            return True
        reason = f"items have changed since {bundle.name} was exported."
    except BundleError as error:
        reason = str(error)
    structlog.get_logger(__name__).warning("refresh_exports_again", reason=reason)
    return False


def _has_served(bundle: Path, runs: RunsFile) -> bool:
    return bundle.name in {*runs.promoted(), *runs.rolled_back_from()}


def _overtaken(serving: str, before: Path | None) -> str:
    began = "none was known to" if before is None else f"{before.name} did"
    return (
        f"{serving} serves, and {began} as this refresh began: with what was promoted or rolled "
        "back to since, the new bundle was not compared."
    )
