"""Which settings are searched, and in which ranges."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import orjson
from optuna import Trial

from serving.source_names import SOURCES
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
        """Return the names and values by which a trial stores this value of the setting `name`."""
        ...


@dataclass(frozen=True, slots=True)
class Real:
    """A number from `low` to `high` with three significant digits: more make no difference."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Trial, name: str) -> float:
        """Return a number, chosen by the trial."""
        return _rounded(trial.suggest_float(name, self.low, self.high, log=self.log))

    def including(self, value: float) -> "Real":
        """Return a range that reaches to `value` as a trial has it."""
        value = _rounded(value)
        return Real(min(self.low, value), max(self.high, value), self.log)

    def stored(self, name: str, value: float) -> Mapping[str, float]:
        """Return the value as a trial has it."""
        return {name: _rounded(value)}


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
    """One of some values, which can be any that JSON can express."""

    options: tuple[Any, ...]

    def suggest(self, trial: Trial, name: str) -> Any:
        """Return an option, chosen by the trial."""
        names = [_json(option) for option in self.options]
        return orjson.loads(trial.suggest_categorical(name, names))

    def including(self, value: Any) -> "Choice":
        """Return the options, with `value` among them."""
        return self if value in self.options else Choice((*self.options, value))

    def stored(self, name: str, value: Any) -> Mapping[str, str]:
        """Return the value as JSON: a study keeps no lists."""
        return {name: _json(value)}


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of `options`, each of which is in or out by itself.

    others: what the present value has besides `options`; every other value has these too.
    """

    options: tuple[str, ...]
    others: tuple[str, ...] = ()

    def suggest(self, trial: Trial, name: str) -> tuple[str, ...]:
        """Return the options that the trial chooses, and the others, in the order of `SOURCES`."""
        chosen = {
            option
            for option in self.options
            if trial.suggest_categorical(f"{name}.{option}", [True, False])
        }
        return self.ordered(chosen)

    def including(self, value: tuple[str, ...]) -> "Subset":
        """Return the same subset with all else that is in `value` as its others."""
        return Subset(self.options, tuple(each for each in value if each not in self.options))

    def stored(self, name: str, value: tuple[str, ...]) -> Mapping[str, bool]:
        """Return whether `value` contains each option."""
        return {f"{name}.{option}": option in value for option in self.options}

    def toggled(self, value: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Return `value` with each option in turn taken out, or put in."""
        return [self.ordered({*value} ^ {option}) for option in self.options]

    def ordered(self, chosen: Set[str]) -> tuple[str, ...]:
        """Return the chosen options and the others, in the order of `SOURCES`."""
        return tuple(each for each in SOURCES if each in chosen or each in self.others)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


Space = Mapping[str, Parameter]
"""By the name of a setting in `TunedSettings`, dotted as in "training.ranking.loss"."""

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
"""The settings that can be tried in seconds, given a two-tower.

The ranker's epochs are not among them: of few candidates it learns for as many as it needs,
whatever is set.
"""

BUY_AGAIN: Space = {"serving.buy_again_days": Real(7.0, 1_000.0, log=True)}
SOURCES_ON = "serving.ranking.sources"
"""Searched with `BUY_AGAIN`, among the sources that can propose anything in a shop."""

MODEL: Space = {
    "training.dimension": Choice((32, 64, 128, 256)),
    "training.learning_rate": Real(3e-4, 6e-3, log=True),
    "training.id_dropout": Real(0.0, 0.5),
    "training.event_dropout": Real(0.0, 0.6),
    "training.hidden_dropout": Real(0.0, 0.5),
    "training.recency_days": Real(5.0, 365.0, log=True),
    "training.horizon_days": Choice((0.0, 1.0, 7.0, 30.0, 90.0)),
}
"""The settings that take a training of the two-tower to try."""


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
    """Return the names and values by which a trial stores the settings."""
    every: dict[str, Any] = {}
    for name, each in space.items():
        every |= each.stored(name, value_of(settings, name))
    return every


def changes(before: TunedSettings, after: TunedSettings, space: Space) -> dict[str, Any]:
    """Return the values of `after` that differ from those of `before`."""
    pairs = {name: (value_of(before, name), value_of(after, name)) for name in space}
    return {
        name: value
        for name, (was, value) in pairs.items()
        if space[name].stored(name, was) != space[name].stored(name, value)
    }
