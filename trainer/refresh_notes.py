"""What the steps of a refresh have found out, and what that holds for."""

from collections.abc import MutableMapping
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from serving.ranking.calibrated_fusion import CalibratedFusion
from trainer.evaluate import EvaluationRow
from trainer.start import Start

T = TypeVar("T")


class _Note(BaseModel):
    # What a run has noted may be of a metric that is not a number.
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")


class Basis(_Note):
    """What all that is noted holds for.

    settings: a hash of those that decide what a training makes of events, and how it is judged.
    current: the version that served as the refresh began. checkpoints: who owns their folder.
    """

    settings: str
    current: str | None
    checkpoints: str | None


class NotedStart(_Note):
    """What the training goes on from: a version, or for this reason nothing."""

    version: str | None
    reason: str

    @classmethod
    def of(cls, start: Start) -> "NotedStart":
        """Return the note of a start."""
        return cls(version=start.version, reason=start.reason)


class Choice(_Note):
    """What was learned from what was held out: for how many epochs to train, and how to order.

    rows: of those who answered what was held out. has_ranker: whether a ranker was trained.
    fusion: None where nobody told anything of it.
    """

    epochs: int
    rows: tuple[EvaluationRow, ...]
    has_ranker: bool = Field(alias="ranker")
    fusion: CalibratedFusion | None


class _Noted(Generic[T]):
    """A note of one type, by the name of the attribute; None as long as it is not made."""

    def __init__(self, kind: type[T]) -> None:
        self._adapter = TypeAdapter(kind)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, notes: "RefreshNotes", owner: Any = None) -> T | None:
        stored = notes.stored.get(self._name)
        return None if stored is None else self._adapter.validate_json(stored)

    def __set__(self, notes: "RefreshNotes", value: T) -> None:
        notes.stored[self._name] = self._adapter.dump_json(value, by_alias=True).decode()


class RefreshNotes:
    """Notes in any mapping from names to JSON: a `dict`, or a run's rows on disk.

    Each may raise `pydantic.ValidationError`, where another version of this program has made it.
    """

    basis = _Noted(Basis)
    start = _Noted(NotedStart)
    choice = _Noted(Choice)
    version = _Noted(str)

    def __init__(self, stored: MutableMapping[str, str]) -> None:
        self.stored = stored

    def forget(self) -> None:
        """Remove all notes."""
        # First what all others hold for: killed in between, they hold for nothing.
        self.stored.pop("basis", None)
        self.stored.clear()
