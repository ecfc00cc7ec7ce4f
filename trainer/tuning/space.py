"""Which settings are searched, and where."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import orjson
from optuna import Trial

from trainer.settings import TrainingSettings


class Parameter(Protocol):
    """The values that one setting may have."""

    def suggest(self, trial: Trial, name: str) -> Any:
        """Return a value, chosen by the trial."""
        ...

    def including(self, value: Any) -> "Parameter":
        """Return the same with this value among those that it may have."""
        ...

    def stored(self, value: Any) -> Any:
        """Return the value as a trial knows it."""
        ...


@dataclass(frozen=True, slots=True)
class Real:
    """A number from `low` to `high`, of three significant digits: nobody can tell more apart."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Trial, name: str) -> float:
        """Return a number, chosen by the trial."""
        return float(f"{trial.suggest_float(name, self.low, self.high, log=self.log):.3g}")

    def including(self, value: float) -> "Real":
        """Return a range that reaches to `value`."""
        return Real(min(self.low, value), max(self.high, value), self.log)

    def stored(self, value: float) -> float:
        """Return the value itself."""
        return value


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `low` to `high`."""

    low: int
    high: int
    log: bool = False

    def suggest(self, trial: Trial, name: str) -> int:
        """Return a number, chosen by the trial."""
        return trial.suggest_int(name, self.low, self.high, log=self.log)

    def including(self, value: int) -> "Whole":
        """Return a range that reaches to `value`."""
        return Whole(min(self.low, value), max(self.high, value), self.log)

    def stored(self, value: int) -> int:
        """Return the value itself."""
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values, whatever JSON can say."""

    options: tuple[Any, ...]

    def suggest(self, trial: Trial, name: str) -> Any:
        """Return an option, chosen by the trial."""
        names = [self.stored(option) for option in self.options]
        return orjson.loads(trial.suggest_categorical(name, names))

    def including(self, value: Any) -> "Choice":
        """Return the options, `value` being one."""
        return self if value in self.options else Choice((*self.options, value))

    def stored(self, value: Any) -> str:
        """Return the value as JSON: a study keeps no lists."""
        return orjson.dumps(value).decode()


Space = Mapping[str, Parameter]
"""By the name of the setting in `TrainingSettings`, dots before names within a part of it."""

RANKING: Space = {
    "ranking.ease_regularisation": Real(5.0, 2_000.0, log=True),
    "ranking.ease_days": Real(7.0, 1_000.0, log=True),
    "ranking.ease_history_days": Real(7.0, 1_000.0, log=True),
    "ranking.ease_history_events": Choice((0.0, 3.0, 10.0, 30.0)),
    "ranking.neighbours": Whole(50, 400, log=True),
    "ranking.text_neighbours": Whole(10, 200, log=True),
    "ranking.text_history_days": Real(7.0, 1_000.0, log=True),
    "ranking.text_history_events": Choice((0.0, 3.0, 10.0)),
    "ranking.transition_distance": Choice((0, 3, 10)),
    "ranking.transition_history_days": Real(1.0, 1_000.0, log=True),
    "ranking.transition_history_events": Choice((0.0, 1.5, 5.0)),
    "ranking.loss": Choice(("pointwise", "listwise")),
    "ranking.hidden_units": Choice(((16,), (32, 16), (64, 32), (128, 64))),
    "ranking.dropout": Real(0.0, 0.5),
    "ranking.learning_rate": Real(3e-4, 1e-2, log=True),
}
"""What is fitted in seconds, given a two-tower.

Not the ranker's epochs: of few candidates it learns for as many as it needs, whatever is set.
"""

MODEL: Space = {
    "dimension": Choice((32, 64, 128, 256)),
    "learning_rate": Real(3e-4, 6e-3, log=True),
    "id_dropout": Real(0.0, 0.5),
    "event_dropout": Real(0.0, 0.6),
    "hidden_dropout": Real(0.0, 0.5),
    "recency_days": Real(5.0, 365.0, log=True),
    "horizon_days": Choice((0.0, 1.0, 7.0, 30.0, 90.0)),
}
"""What takes a training of the two-tower to try."""


def value_of(settings: TrainingSettings, name: str) -> Any:
    """Return the setting of this name."""
    return reduce(getattr, name.split("."), settings)


def with_values(settings: TrainingSettings, values: Mapping[str, Any]) -> TrainingSettings:
    """Return the settings with these values, checked, by name."""
    every = settings.model_dump()
    for name, value in values.items():
        *parts, last = name.split(".")
        reduce(dict.__getitem__, parts, every)[last] = value
    return TrainingSettings.model_validate(every)


def changes(before: TrainingSettings, after: TrainingSettings, space: Space) -> dict[str, Any]:
    """Return the values of `after` that are other ones than those of `before`."""
    values = {name: value_of(after, name) for name in space}
    return {name: value for name, value in values.items() if value != value_of(before, name)}
