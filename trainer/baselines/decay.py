"""How much an event weighs by its age."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from feature_repo.times import DAY
from trainer.baselines.user_item import Weights
from trainer.interactions import Interactions


class Decay(Protocol):
    """Gives every event of some interactions a weight."""

    def weights(self, interactions: Interactions) -> Weights:
        """Return float32 [num_events], 0..1, 1 for an event of age 0."""
        ...


@dataclass(frozen=True, slots=True)
class NoDecay:
    """An event keeps its weight for ever."""

    def weights(self, interactions: Interactions) -> Weights:
        """Return ones."""
        return np.ones(len(interactions.item), np.float32)


@dataclass(frozen=True, slots=True)
class TimeDecay:
    """An event loses half its weight every `half_life_days`, counted from the newest of all."""

    half_life_days: float

    def weights(self, interactions: Interactions) -> Weights:
        """Return 2 ^ -(age in half-lives)."""
        days = _age(interactions) / DAY
        return np.exp2(-days / self.half_life_days).astype(np.float32)


@dataclass(frozen=True, slots=True)
class PositionDecay:
    """An event loses half its weight every `half_life_events` that its user adds.

    For sequences, which have an order but no times.
    """

    half_life_events: float

    def weights(self, interactions: Interactions) -> Weights:
        """Return 2 ^ -(number of the user's newer events in half-lives)."""
        end = interactions.first_event[interactions.user + 1]
        newer = end - 1 - np.arange(len(interactions.item))
        return np.exp2(-newer / self.half_life_events).astype(np.float32)


@dataclass(frozen=True, slots=True)
class LastDays:
    """An event weighs 1 during the last `days`, counted from the newest of all, then nothing."""

    days: float

    def weights(self, interactions: Interactions) -> Weights:
        """Return ones and zeros."""
        return (_age(interactions) < self.days * DAY).astype(np.float32)


def _age(interactions: Interactions) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return int64 [num_events], microseconds before the newest event."""
    newest = interactions.timestamp.max(initial=0)
    age: np.ndarray[tuple[int], np.dtype[np.int64]] = newest - interactions.timestamp
    return age
