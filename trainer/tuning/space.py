"""Which settings are searched, and where."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import orjson
from optuna import Trial

from serving.ranking.settings import SOURCES
from trainer.tuning.tuned_settings import TunedSettings


class Parameter(Protocol):
    """The values that one setting may have."""

    def suggest(self, trial: Trial, name: str) -> Any:
        """Return a value, chosen by the trial."""
        ...

    def including(self, value: Any) -> "Parameter":
        """Return the same with this value among those that it may have."""
        ...

    def stored(self, name: str, value: Any) -> Mapping[str, Any]:
        """Return by what names and values a trial knows that the setting `name` has this value."""
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

    def stored(self, name: str, value: float) -> Mapping[str, float]:
        """Return the value itself."""
        return {name: value}


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

    def stored(self, name: str, value: int) -> Mapping[str, int]:
        """Return the value itself."""
        return {name: value}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values, whatever JSON can say."""

    options: tuple[Any, ...]

    def suggest(self, trial: Trial, name: str) -> Any:
        """Return an option, chosen by the trial."""
        names = [_json(option) for option in self.options]
        return orjson.loads(trial.suggest_categorical(name, names))

    def including(self, value: Any) -> "Choice":
        """Return the options, `value` being one."""
        return self if value in self.options else Choice((*self.options, value))

    def stored(self, name: str, value: Any) -> Mapping[str, str]:
        """Return the value as JSON: a study keeps no lists."""
        return {name: _json(value)}


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of `options`, each of them in or out by itself.

    others: what the value at present has beside them, and so has every other.
    """

    options: tuple[str, ...]
    others: tuple[str, ...] = ()

    def suggest(self, trial: Trial, name: str) -> tuple[str, ...]:
        """Return those that the trial chooses, in the order of `SOURCES`."""
        chosen = {
            option
            for option in self.options
            if trial.suggest_categorical(f"{name}.{option}", [True, False])
        }
        return self.ordered(chosen)

    def including(self, value: tuple[str, ...]) -> "Subset":
        """Return the same with whatever else is in `value`."""
        return Subset(self.options, tuple(each for each in value if each not in self.options))

    def stored(self, name: str, value: tuple[str, ...]) -> Mapping[str, bool]:
        """Return of each option whether it is in `value`."""
        return {f"{name}.{option}": option in value for option in self.options}

    def toggled(self, value: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Return `value` with each option in turn taken out, or put in."""
        return [self.ordered({*value} ^ {option}) for option in self.options]

    def ordered(self, chosen: Set[str]) -> tuple[str, ...]:
        """Return those chosen and the others, in the order of `SOURCES`."""
        return tuple(each for each in SOURCES if each in chosen or each in self.others)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


Space = Mapping[str, Parameter]
"""By the name of the setting in `TunedSettings`, dots before names within a part of it."""

RANKING: Space = {
    "training.ranking.ease_regularisation": Real(5.0, 2_000.0, log=True),
    "training.ranking.ease_days": Real(7.0, 1_000.0, log=True),
    "training.ranking.ease_history_days": Real(7.0, 1_000.0, log=True),
    "training.ranking.ease_history_events": Choice((0.0, 3.0, 10.0, 30.0)),
    "training.ranking.neighbours": Whole(50, 400, log=True),
    "training.ranking.text_neighbours": Whole(10, 200, log=True),
    "training.ranking.text_history_days": Real(7.0, 1_000.0, log=True),
    "training.ranking.text_history_events": Choice((0.0, 3.0, 10.0)),
    "training.ranking.transition_distance": Choice((0, 3, 10)),
    "training.ranking.transition_history_days": Real(1.0, 1_000.0, log=True),
    "training.ranking.transition_history_events": Choice((0.0, 1.5, 5.0)),
    "training.ranking.loss": Choice(("pointwise", "listwise")),
    "training.ranking.hidden_units": Choice(((16,), (32, 16), (64, 32), (128, 64))),
    "training.ranking.dropout": Real(0.0, 0.5),
    "training.ranking.learning_rate": Real(3e-4, 1e-2, log=True),
}
"""What is fitted in seconds, given a two-tower.

Not the ranker's epochs: of few candidates it learns for as many as it needs, whatever is set.
"""

BUY_AGAIN: Space = {"serving.buy_again_days": Real(7.0, 1_000.0, log=True)}
SOURCES_ON = "serving.ranking.sources"
"""Searched with `BUY_AGAIN`, among the sources that speak in a shop."""

MODEL: Space = {
    "training.dimension": Choice((32, 64, 128, 256)),
    "training.learning_rate": Real(3e-4, 6e-3, log=True),
    "training.id_dropout": Real(0.0, 0.5),
    "training.event_dropout": Real(0.0, 0.6),
    "training.hidden_dropout": Real(0.0, 0.5),
    "training.recency_days": Real(5.0, 365.0, log=True),
    "training.horizon_days": Choice((0.0, 1.0, 7.0, 30.0, 90.0)),
}
"""What takes a training of the two-tower to try."""


def value_of(settings: TunedSettings, name: str) -> Any:
    """Return the setting of this name."""
    return reduce(getattr, name.split("."), settings)


def with_values(settings: TunedSettings, values: Mapping[str, Any]) -> TunedSettings:
    """Return the settings with these values, checked, by name."""
    every = settings.model_dump()
    for name, value in values.items():
        *parts, last = name.split(".")
        reduce(dict.__getitem__, parts, every)[last] = value
    return TunedSettings.model_validate(every)


def stored(settings: TunedSettings, space: Space) -> dict[str, Any]:
    """Return what a trial knows of the settings, by the names it has for that."""
    every: dict[str, Any] = {}
    for name, each in space.items():
        every |= each.stored(name, value_of(settings, name))
    return every


def changes(before: TunedSettings, after: TunedSettings, space: Space) -> dict[str, Any]:
    """Return the values of `after` that are other ones than those of `before`."""
    pairs = {name: (value_of(before, name), value_of(after, name)) for name in space}
    return {
        name: value
        for name, (was, value) in pairs.items()
        if space[name].stored(name, was) != space[name].stored(name, value)
    }
