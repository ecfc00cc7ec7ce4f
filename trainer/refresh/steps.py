"""The work of a refresh, step by step."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from trainer.bundle_scorer import current_scorer
from trainer.comparison import CANDIDATE
from trainer.evaluate import EvaluationRow
from trainer.export import BundleNote, ExportedCatalogue, TrainedRanking, export_bundle
from trainer.judging import judge_epochs
from trainer.listener import Listener
from trainer.material import Material, read_material
from trainer.ranking.fitted_tables import fit_tables
from trainer.refresh.bundle_checks import check_bundle
from trainer.refresh.inputs import RefreshInputs
from trainer.refresh.notes import BundleChecks, Choice
from trainer.refresh.resuming import Begun, RefreshCheckpoint
from trainer.start import choose_start
from trainer.train import TrainingHooks


class RefreshSteps(Protocol):
    """Does the steps that `refresh` finds are left to do."""

    def prepare(self, begun: Begun) -> Material:
        """Embed the texts that the cache lacks; find a start where it is not noted already."""
        ...

    def judge(self, material: Material, checkpoint: RefreshCheckpoint) -> Choice:
        """Learn from what is held out; keep the ranker, where one is trained."""
        ...

    def publish(
        self, material: Material, choice: Choice, version: str, checkpoint: RefreshCheckpoint
    ) -> None:
        """Train on everything, and export the bundle of this version with the latest items."""
        ...

    def check(self, material: Material, version: str) -> BundleChecks:
        """Check the bundle as a server would."""
        ...


class TrainingSteps:
    """Implements `RefreshSteps`, and tells `listener` how far they are."""

    def __init__(self, inputs: RefreshInputs, listener: Listener | None = None) -> None:
        self._inputs = inputs
        self._listener = listener or Listener()

    def prepare(self, begun: Begun) -> Material:
        """Read the material, and find a start as `choose_start` does.

        Raises `TrainingInputError` where there is nothing to learn from.
        """
        inputs = self._inputs
        self._listener.stage("Embedding texts")
        material = read_material(
            begun.events,
            begun.items,
            inputs.settings,
            inputs.features,
            inputs.text_cache,
            self._listener.progress,
        )
        start = begun.start
        if start is None:
            start = choose_start(inputs.bundles, inputs.settings, material.interactions)
        return material.beginning(start)

    def judge(self, material: Material, checkpoint: RefreshCheckpoint) -> Choice:
        """Judge as `judge_epochs` does, beside the current bundle where there are gates.

        What the judgement was learned from is given up: the next training has use for the memory.
        """
        inputs = self._inputs
        if inputs.settings.holdout_share:
            self._listener.stage("Training, the newest events held out")
        current = None
        if inputs.gates and inputs.current:
            current = current_scorer(inputs.current, inputs.text_cache, inputs.service)
        judgement = judge_epochs(
            material,
            current=current,
            checkpoints=checkpoint.folder("held-out"),
            on_step=self._listener.step,
            service=inputs.service,
        )
        learned = judgement.learned
        if learned.ranker is not None:
            checkpoint.write_ranker(learned.ranker)
        return Choice(
            epochs=judgement.epochs,
            rows=tuple(judgement.rows),
            has_ranker=learned.ranker is not None,
            fusion=learned.fusion,
            no_ranker=learned.no_ranker,
        )

    def publish(
        self, material: Material, choice: Choice, version: str, checkpoint: RefreshCheckpoint
    ) -> None:
        """Train with the schedule of the validated training, stopped where that was best.

        The bundle has the catalogue as of when its export begins.
        """
        inputs, start = self._inputs, material.start
        self._listener.stage("Training on everything")
        model = material.trained(
            material.interactions,
            TrainingHooks(checkpoint.folder("full"), self._listener.step),
            stop_after=choice.epochs,
        )
        self._listener.stage("Exporting")
        catalogue = material
        if inputs.latest is not None:
            catalogue = material.with_items(inputs.latest(), inputs.text_cache)
        note = BundleNote(
            created_at=inputs.now,
            version=version,
            parent=start.version or (inputs.current.name if inputs.current else None),
            start=str(start),
            metrics=_metrics(choice.rows),
            made_by=inputs.made_by,
        )
        export_bundle(
            model,
            inputs.bundles,
            note,
            catalogue=ExportedCatalogue(catalogue.items, catalogue.text_embeddings),
            ranking=self._ranking(catalogue, choice, checkpoint),
        )

    def check(self, material: Material, version: str) -> BundleChecks:
        """Check the bundle as `check_bundle` does.

        Raises `serving.bundle.BundleError` where a server would refuse the bundle.
        """
        inputs = self._inputs
        self._listener.stage("Checking the bundle")
        histories, serving = material.interactions, inputs.service.serving
        return check_bundle(inputs.bundles / version, histories, serving, inputs.text_cache)

    def _ranking(
        self, catalogue: Material, choice: Choice, checkpoint: RefreshCheckpoint
    ) -> TrainedRanking | None:
        """Return what the bundle ranks by; None where the settings ask for nothing."""
        training = self._inputs.settings
        settings = training.ranking
        if not settings.enabled:
            return None
        ranker = checkpoint.read_ranker(settings) if choice.has_ranker else None
        past, texts = catalogue.interactions, catalogue.text_embeddings
        tables = fit_tables(past, texts, settings, training.weightless)
        return TrainedRanking(replace(tables, fusion=choice.fusion), ranker)


def _metrics(rows: Sequence[EvaluationRow]) -> dict[str, float]:
    return {
        name: value
        for row in rows
        if row.scorer == CANDIDATE
        for name, value in row.named_metrics.items()
    }
