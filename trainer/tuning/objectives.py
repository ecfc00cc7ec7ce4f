"""What a search for settings maximises: how good the list as a whole is on the newest slice."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.source_names import SOURCES, Source
from trainer.best_epoch import best_epoch
from trainer.evaluate import answer, ndcgs
from trainer.held_out import HeldOut, hold_out
from trainer.judging import RankingLessons
from trainer.material import Material
from trainer.metrics import mean_of
from trainer.ranking.learning_to_rank import Newest
from trainer.ranking.service_settings import ServiceSettings
from trainer.ranking.silent_sources import silent_sources
from trainer.settings import TrainingSettings
from trainer.train import Progress
from trainer.tuning.search import Answers, Objective, Report
from trainer.tuning.tuned_settings import TunedSettings

OnStep = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, eq=False)
class NewestSliceObjectives:
    """Asks the users by whom a model is judged about the newest slice, as a refresh does.

    Half of them, drawn once, choose settings; the others confirm the choice.
    """

    material: Material
    held_out: HeldOut
    service: ServiceSettings

    @classmethod
    def of(cls, material: Material, service: ServiceSettings) -> "NewestSliceObjectives":
        """Return the objectives of a shop.

        Raises:
            ValueError: there is no slice, fewer than two users can be asked about it, or nothing
                before it can be learned from.
        """
        share = material.settings.holdout_share
        if not share:
            raise ValueError(f"`holdout_share` must be above 0. Received: {share}.")
        held_out = hold_out(material)
        if held_out is None or len(held_out.judged) < 2:
            raise ValueError(
                "fewer than two users who were known before the newest slice of the events acted "
                "in it, or nobody at two different moments before it: there is nobody to ask."
            )
        return cls(material, held_out, service)

    def trained(self, checkpoints: Path, on_step: OnStep) -> Newest:
        """Return what a two-tower with the material's settings says of the newest slice.

        A two-tower that was trained into `checkpoints` before is taken from there.
        """
        _, newest = best_epoch(self.material, self.held_out, checkpoints, on_step)
        return newest

    def of_ranking(self, newest: Newest) -> Objective:
        """Return the objective of the settings of ranking, given what a two-tower says."""
        return lambda settings, report: self._answers(settings, newest)

    def of_model(self, on_step: OnStep) -> Objective:
        """Return the objective of all settings: a two-tower is trained for each.

        After each epoch the two-tower's own value is reported, since the list as a whole builds on
        it. Confirming users are not part of it: a trial may be given up by this value.
        """

        def ask(settings: TunedSettings, report: Report) -> Answers:
            material = replace(self.material, settings=settings.training)
            _, newest = best_epoch(
                material,
                self.held_out,
                None,
                on_step,
                lambda epoch, values: report(epoch, mean_of(self._halved(values).choosing)),
            )
            return self._answers(settings, newest)

        return ask

    def speaking(self, training: TrainingSettings) -> list[Source]:
        """Return the sources that can propose anything in this shop with these settings."""
        past = self.held_out.split.past
        ranking = training.ranking
        tables = self.held_out.tables.of(past, ranking).tables if ranking.enabled else {}
        silent = silent_sources(past.items, tables, self.service)
        return [source for source in SOURCES if source not in silent]

    def _answers(self, settings: TunedSettings, newest: Newest) -> Answers:
        service = replace(self.service, serving=settings.serving)
        _, pipeline = RankingLessons(self.held_out, newest).fit_list(settings.training, service)
        return self._halved(ndcgs(answer(pipeline, self.held_out.tasks[-1]).ranked))

    def _halved(self, values: npt.NDArray[np.float64]) -> Answers:
        order = np.random.default_rng(self.material.settings.seed).permutation(len(values))
        half = len(values) // 2
        return Answers(values[order[half:]].tolist(), values[order[:half]].tolist())
