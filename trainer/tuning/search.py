"""A bounded search for settings that do better on what is held out than the present ones.

Tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011) by Optuna (Akiba et al., KDD
2019, arXiv:1907.10902). Settings are chosen by half of the users and confirmed by the other half:
the best of many trials looks better than it is to the users by whom it was chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import optuna
import structlog
from optuna.trial import FrozenTrial, TrialState
from tensorflow.errors import OpError

from trainer.metrics import mean_interval, mean_of
from trainer.tuning.space import Space, stored, value_of, with_values
from trainer.tuning.tuned_settings import TunedSettings

# It would log what `on_trial` is told already.
optuna.logging.set_verbosity(optuna.logging.WARNING)

_VALUES, _INTERRUPTED = "values", "interrupted"
"""What a trial keeps: the values that it tries, and whether it was ended by Ctrl-C or an error."""

Report = Callable[[int, float], None]
"""Takes a step and the value by then; raises instead of returning where a trial is given up."""


@dataclass(frozen=True, slots=True)
class Answers:
    """NDCG@10 of every user by whom settings are chosen, and of those who confirm the choice."""

    choosing: Sequence[float]
    confirming: Sequence[float]


Objective = Callable[[TunedSettings, Report], Answers]
"""Returns the answers under these settings; raises one of `_NO_RESULT` where they give none."""

_NO_RESULT = (ValueError, OpError, MemoryError)
"""The others are of settings that ask for more memory than there is, as a large dimension may."""


@dataclass(frozen=True, slots=True)
class Tried:
    """Settings that were tried, and the answers. number: 0 for the present settings."""

    number: int
    settings: TunedSettings
    answers: Answers

    @property
    def value(self) -> float:
        """The mean NDCG@10 of the choosing users, by which settings are chosen."""
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
    """Let the sampler propose all settings."""


class Search:
    """A search that is kept in a file, and can be resumed however it ended.

    A search that was interrupted and resumed finds what an uninterrupted one finds, if the
    objective returns the same for the same settings.

    Args:
        file: an SQLite database; more than one search may be in it.
        name: of the search. It must differ wherever data, settings or space differ.
        present: the settings that others are compared with. They are tried first.
        steps: returns settings to try next, or None where the sampler may propose them. It takes
            what `results` returns, and the settings of every trial that has ended.
        pruned: whether a trial is given up that does worse at a step than the median of those
            before it.
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
        """How many trials were given up, or gave no result."""
        return sum(trial.state == TrialState.PRUNED for trial in self._ended())

    def run(
        self,
        objective: Objective,
        trials: int,
        has_time: Callable[[], bool],
        on_trial: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Try settings until `trials` have ended, in this run or before, or there is no time.

        A trial that has begun is finished; the present settings are tried in any case. One that was
        interrupted is done again, and so is one at which the process was killed, but only once: it
        may have been killed for the memory that these settings take.
        on_trial: called before each trial with how many have ended.

        Raises:
            ValueError, OpError, MemoryError: the present settings give no result.
        """
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            values = trial.user_attrs.get(_VALUES)
            if self.count and values in self._killed():
                self._give_up(trial.number, values, "the process was killed twice while it ran")
            else:
                self._study.tell(trial.number, state=TrialState.FAIL)
        while (count := self.count) < trials and (count == 0 or has_time()):
            on_trial(count)
            self._try(objective, count)

    def results(self) -> list[Tried]:
        """Return the settings that were tried to the end, the best first."""
        return self._known()[0]

    def _try(self, objective: Objective, number: int) -> None:
        # Seeded by the trial's number, so that a resumed search finds the same.
        self._study.sampler = optuna.samplers.TPESampler(seed=self._seed + number)
        if not self._study.get_trials(states=(TrialState.WAITING,)):
            step = self._steps(*self._known()) if number else self._present
            if step is not None:
                self._study.enqueue_trial(stored(step, self._space))
        trial = self._study.ask()
        values = {name: each.suggest(trial, name) for name, each in self._space.items()}
        trial.set_user_attr(_VALUES, values)

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
        except _NO_RESULT as error:
            if number == 0:
                raise
            self._give_up(
                trial.number, values, " ".join(f"{type(error).__name__}: {error}".split())
            )
            return
        except BaseException:
            trial.set_user_attr(_INTERRUPTED, True)
            self._study.tell(trial, state=TrialState.FAIL)
            raise
        trial.set_user_attr("choosing", list(answers.choosing))
        trial.set_user_attr("confirming", list(answers.confirming))
        self._study.tell(trial, mean_of(answers.choosing))

    def _give_up(self, number: int, values: Mapping[str, Any], reason: str) -> None:
        """End a trial that gives no result: a failed one would be drawn again, by the same seed."""
        structlog.get_logger(__name__).warning(
            "trial_gave_no_result", settings=values, reason=reason
        )
        self._study.tell(number, state=TrialState.PRUNED)

    def _killed(self) -> list[Mapping[str, Any]]:
        """Return the values of the trials at which the process was killed."""
        failed = (trial.user_attrs for trial in self._study.get_trials(states=(TrialState.FAIL,)))
        return [each[_VALUES] for each in failed if _VALUES in each and _INTERRUPTED not in each]

    def _ended(self) -> list[FrozenTrial]:
        return self._study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))

    def _known(self) -> tuple[list[Tried], list[TunedSettings]]:
        """Return `results`, and the settings of every trial that has ended."""
        results, every = [], []
        for number, trial in enumerate(self._ended()):
            kept: Mapping[str, Any] = trial.user_attrs
            settings = with_values(self._present, kept[_VALUES]) if number else self._present
            every.append(settings)
            if trial.state == TrialState.COMPLETE:
                answers = Answers(kept["choosing"], kept["confirming"])
                results.append(Tried(number, settings, answers))
        return sorted(results, key=lambda tried: (-tried.value, tried.number)), every
