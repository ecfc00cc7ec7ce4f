"""A bounded search for settings that answer what is held out better than those at present.

Tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011) by Optuna (Akiba et al., KDD
2019, arXiv:1907.10902). Settings are chosen by half of the users and confirmed by the other half:
the best of many trials flatters itself to those it was chosen by.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from trainer.metrics import mean_interval, mean_of
from trainer.tuning.space import Space, stored, value_of, with_values
from trainer.tuning.tuned_settings import TunedSettings

# What it logs is what `on_trial` hears.
optuna.logging.set_verbosity(optuna.logging.WARNING)

Report = Callable[[int, float], None]
"""Takes a step and the value by then, and does not return where the trial is not worth more."""


@dataclass(frozen=True, slots=True)
class Answers:
    """NDCG@10 of every user by whom settings are chosen, and of those who confirm the choice."""

    choosing: Sequence[float]
    confirming: Sequence[float]


Objective = Callable[[TunedSettings, Report], Answers]
"""Raises ValueError of settings of which nothing comes."""


@dataclass(frozen=True, slots=True)
class Tried:
    """Settings that were tried, and the answers. number: 0 for those at present."""

    number: int
    settings: TunedSettings
    answers: Answers

    @property
    def value(self) -> float:
        """What settings are chosen by: mean NDCG@10 of the choosing users."""
        return mean_of(self.answers.choosing)

    def gain(self, over: "Tried", seed: int) -> tuple[float, float, float]:
        """Return the mean difference among the confirming users, and its 95 % interval."""
        return gain_interval(self.answers.confirming, over.answers.confirming, seed)


def gain_interval(
    own: Sequence[float], others: Sequence[float], seed: int
) -> tuple[float, float, float]:
    """Return the mean difference of the same users' answers, and its 95 % interval."""
    differences = [one - other for one, other in zip(own, others, strict=True)]
    low, high = mean_interval(differences, np.random.default_rng(seed))
    return mean_of(differences), low, high


Steps = Callable[[Sequence[Tried], Sequence[TunedSettings]], TunedSettings | None]


def no_steps(results: Sequence[Tried], ended: Sequence[TunedSettings]) -> None:
    """Leave all to the sampler."""


class Search:
    """A search that is kept in a file, and goes on where it was left, however it was left.

    One that was interrupted and goes on finds what an uninterrupted one finds, if the objective
    says the same of the same settings.

    Args:
        file: an SQLite database; more than one search may be in it.
        name: of the search. Whatever is other than before (data, settings, space) must be in it.
        present: the settings that others are compared with. They are tried first.
        steps: returns settings to try next, or None where the sampler may propose them. It takes
            what `results` returns, and all settings of which a trial has ended.
        pruned: whether a trial ends that does worse at a step than the median of those before.
    """

    def __init__(
        self,
        file: Path,
        name: str,
        space: Space,
        present: TunedSettings,
        *,
        seed: int,
        steps: Steps = no_steps,
        pruned: bool = False,
    ) -> None:
        self._present, self._seed = present, seed
        self._steps = steps
        self._space = {
            name: each.including(value_of(present, name)) for name, each in space.items()
        }
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{file.absolute()}")
        pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            direction="maximize",
            pruner=pruner if pruned else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )

    def __enter__(self) -> "Search":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()

    @property
    def count(self) -> int:
        """How many trials have ended."""
        return len(self._ended())

    @property
    def pruned(self) -> int:
        """How many trials ended early, or nothing came of them."""
        return sum(trial.state == TrialState.PRUNED for trial in self._ended())

    def run(
        self,
        objective: Objective,
        trials: int,
        has_time: Callable[[], bool],
        on_trial: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Try settings until `trials` have ended, in this run or before, or there is no time.

        A trial that has begun is ended; the settings at present are tried in any case.
        on_trial: called before each with how many have ended.

        Raises:
            ValueError: nothing comes of the settings at present.
        """
        # Whatever was at work when a search was interrupted is asked for again.
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)
        while (count := self.count) < trials and (count == 0 or has_time()):
            on_trial(count)
            self._try(objective, count)

    def results(self) -> list[Tried]:
        """Return the settings that were tried to the end, the best first."""
        return self._known()[0]

    def _try(self, objective: Objective, number: int) -> None:
        # Of the number, and not of how often the search was begun: it then finds the same.
        self._study.sampler = optuna.samplers.TPESampler(seed=self._seed + number)
        if not self._study.get_trials(states=(TrialState.WAITING,)):
            step = self._steps(*self._known()) if number else self._present
            if step is not None:
                self._study.enqueue_trial(stored(step, self._space))
        trial = self._study.ask()
        values = {name: each.suggest(trial, name) for name, each in self._space.items()}
        trial.set_user_attr("values", values)

        def report(step: int, value: float) -> None:
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned

        settings = with_values(self._present, values) if number else self._present
        try:
            answers = objective(settings, report)
        except optuna.TrialPruned:
            self._study.tell(trial, state=TrialState.PRUNED)
            return
        except ValueError:
            if number == 0:
                raise
            self._study.tell(trial, state=TrialState.PRUNED)
            return
        trial.set_user_attr("choosing", list(answers.choosing))
        trial.set_user_attr("confirming", list(answers.confirming))
        self._study.tell(trial, mean_of(answers.choosing))

    def _ended(self) -> list[FrozenTrial]:
        return self._study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))

    def _known(self) -> tuple[list[Tried], list[TunedSettings]]:
        """Return `results`, and the settings of every trial that has ended."""
        results, every = [], []
        for number, trial in enumerate(self._ended()):
            kept: Mapping[str, Any] = trial.user_attrs
            settings = with_values(self._present, kept["values"]) if number else self._present
            every.append(settings)
            if trial.state == TrialState.COMPLETE:
                answers = Answers(kept["choosing"], kept["confirming"])
                results.append(Tried(number, settings, answers))
        return sorted(results, key=lambda tried: (-tried.value, tried.number)), every
