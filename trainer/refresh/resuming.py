"""What an interrupted training or refresh goes on from, and whether that still holds."""

import hashlib
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import orjson
import polars as pl
import structlog
from pydantic import ValidationError

from feature_repo.first_error import FirstError
from feature_repo.schema import Item
from trainer.import_keras import keras
from trainer.ranking.ranker import read_ranker, write_ranker
from trainer.ranking.service_settings import ServiceSettings
from trainer.ranking.settings import RankerSettings
from trainer.refresh.as_begun import events_as_begun, items_as_begun
from trainer.refresh.inputs import RefreshInputs
from trainer.refresh.notes import Basis, Notes
from trainer.refresh.runs_file import RunsFile
from trainer.settings import TrainingSettings
from trainer.start import Start, start_from
from trainer.text_tower import text_model_digest

_OWNER_FILE, _RANKER_FILE = "of", "ranker.safetensors"
_TRAINING = "train"
"""Who owns the checkpoints of trainings that are not runs."""


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """What a refresh learns from, and the start that it has noted, if there is one."""

    events: pl.DataFrame
    items: Sequence[Item]
    start: Start | None = None


class RefreshCheckpoint(Protocol):
    """What one refresh at a time keeps of its steps: nothing goes on from what another has left.

    notes: what the steps have found out; kept at once where they are set.
    """

    notes: Notes

    def resume(self, events: pl.DataFrame, inputs: RefreshInputs) -> Begun:
        """Return what to learn from of `events` and the items of `inputs`, and the noted start.

        Whatever does not hold any more is forgotten before.
        """
        ...

    def folder(self, name: str) -> Path | None:
        """Return where a training of this name keeps its epochs; None where they are not kept."""
        ...

    def write_ranker(self, ranker: keras.Model) -> None:
        """Keep a trained ranker."""
        ...

    def read_ranker(self, settings: RankerSettings) -> keras.Model:
        """Return the ranker that was kept, whose settings were these."""
        ...


class NoCheckpoint:
    """Implements `RefreshCheckpoint` in memory: what is interrupted begins anew."""

    def __init__(self) -> None:
        self.notes = Notes()
        self._ranker: keras.Model = None

    def resume(self, events: pl.DataFrame, inputs: RefreshInputs) -> Begun:
        """Return all events and items, and no start."""
        return Begun(events, inputs.items)

    def folder(self, name: str) -> Path | None:
        """Return None: epochs are not kept."""
        return None

    def write_ranker(self, ranker: keras.Model) -> None:
        """Keep the ranker as it is."""
        self._ranker = ranker

    def read_ranker(self, settings: RankerSettings) -> keras.Model:
        """Return the ranker as it was kept."""
        return self._ranker


class TrainingCheckpoint(NoCheckpoint):
    """Keeps the epochs of a training that is not a run in the folder `checkpoints`.

    It is judged anew and learns from all events and items whenever it goes on. What a run has left
    there is removed.
    """

    def __init__(self, checkpoints: Path) -> None:
        super().__init__()
        self._checkpoints = checkpoints

    def resume(self, events: pl.DataFrame, inputs: RefreshInputs) -> Begun:
        """Return all events and items, and no start."""
        if _owner(self._checkpoints) != _TRAINING:
            _claim(self._checkpoints, _TRAINING)
        return Begun(events, inputs.items)

    def folder(self, name: str) -> Path | None:
        """Return the folder of this name among the checkpoints."""
        return self._checkpoints / name


class RunCheckpoint:
    """Implements `RefreshCheckpoint` for a run: in its file, and in the folder `checkpoints`."""

    def __init__(self, checkpoints: Path, runs: RunsFile, run_id: str) -> None:
        self._checkpoints = checkpoints
        self._runs = runs
        self._run_id = run_id
        self._notes, self._unreadable = _read(runs.notes(run_id))

    @property
    def notes(self) -> Notes:
        """What the steps have found out, on disk once it is set."""
        return self._notes

    @notes.setter
    def notes(self, notes: Notes) -> None:
        self._runs.write_notes(self._run_id, notes.to_json())
        self._notes, self._unreadable = notes, None

    def resume(self, events: pl.DataFrame, inputs: RefreshInputs) -> Begun:
        """Return the events and items that there were when the run began, and the noted start.

        Where the notes do not hold any more, they and the checkpoints are forgotten, and a line of
        the log says why: else a model could serve that is not the one which was judged.
        They hold as long as

        - they are of a form that this version of the program reads,
        - the settings of training and service are the same. Gates may change: they are asked anew,
        - the bundle that served then, which the model was compared with, still serves, or the run's
          own does,
        - the checkpoints are its own: no other training has used the folder since,
        - what it goes on from can be read.
        """
        basis = Basis(
            settings=_digest(inputs.settings, inputs.service),
            current=inputs.current.name if inputs.current else None,
            checkpoints=_owner(self._checkpoints),
        )
        start, reason = None, self._unreadable
        if reason is None:
            start, reason = _start(self.notes, basis, inputs.bundles, inputs.settings)
        if reason is not None:
            self._begin_anew(basis, reason)
        return Begun(
            events_as_begun(events, self._checkpoints),
            items_as_begun(inputs.items, self._checkpoints),
            start,
        )

    def folder(self, name: str) -> Path | None:
        """Return the folder of this name among the checkpoints."""
        return self._checkpoints / name

    def write_ranker(self, ranker: keras.Model) -> None:
        """Write the ranker beside them."""
        write_ranker(ranker, self._checkpoints / _RANKER_FILE)

    def read_ranker(self, settings: RankerSettings) -> keras.Model:
        """Return the ranker that lies there."""
        return read_ranker(self._checkpoints / _RANKER_FILE, settings)

    def _begin_anew(self, basis: Basis, reason: str) -> None:
        if self._unreadable or self.notes != Notes():
            structlog.get_logger(__name__).warning("refresh_begins_anew", reason=reason)
        # The notes first: without a basis they hold for nothing, should the run be killed here.
        self.notes = Notes()
        owner = secrets.token_hex(8)
        _claim(self._checkpoints, owner)
        self.notes = Notes(basis=replace(basis, checkpoints=owner))


def _read(stored: str | None) -> tuple[Notes, str | None]:
    """Return the notes of a run; where they cannot be read, none, and why."""
    if stored is None:
        return Notes(), None
    try:
        return Notes.from_json(stored), None
    except ValidationError as error:
        first = FirstError.of(error)
        where = f"{error.title}.{first.key}" if first.key else error.title
        reason = f"`{where}`: {first.reason}"
        return Notes(), f"its notes are of another version of this program: {reason}"


def _start(
    notes: Notes, now: Basis, bundles: Path, settings: TrainingSettings
) -> tuple[Start | None, str | None]:
    """Return the noted start, if there is one, and why the notes do not hold, if they do not."""
    noted, noted_start = notes.basis, notes.start
    if noted is None:
        return None, "it is not noted what the notes hold for"
    if noted.settings != now.settings:
        return None, "its settings have changed"
    serving = now.current
    if serving != noted.current and (serving is None or serving != notes.version):
        return None, f"{serving} serves, and not {noted.current} as when it began"
    if now.checkpoints is None or noted.checkpoints != now.checkpoints:
        return None, "its checkpoints are not there any more"
    if noted_start is None:
        return None, None
    if noted_start.version is None:
        return Start(None, noted_start.reason), None
    start = start_from(bundles / noted_start.version, settings)
    return (start, None) if start.warm else (None, start.reason)


def _digest(settings: TrainingSettings, service: ServiceSettings) -> str:
    """Return a hash of all that decides what a training makes of events, and how it is judged."""
    parts = [
        settings.model_dump(mode="json"),
        text_model_digest(settings.text),
        service.serving.model_dump(mode="json"),
        service.co_visitation.model_dump(mode="json"),
        service.history_length,
    ]
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _owner(checkpoints: Path) -> str | None:
    try:
        return (checkpoints / _OWNER_FILE).read_text("ascii")
    except FileNotFoundError:
        return None


def _claim(checkpoints: Path, owner: str) -> None:
    shutil.rmtree(checkpoints, ignore_errors=True)
    checkpoints.mkdir(parents=True)
    (checkpoints / _OWNER_FILE).write_text(owner, "ascii")
