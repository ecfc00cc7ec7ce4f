"""What an earlier try of a refresh has found out, and whether that holds still."""

import hashlib
import secrets
import shutil
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import structlog

from feature_repo.whole_file import replacing
from serving.bundle import current_version
from trainer.ranking.service import Service
from trainer.settings import TrainingSettings
from trainer.start import Start, start_from
from trainer.text_tower import text_model_digest

Notes = MutableMapping[str, Any]
"""What the steps of a refresh have found out, as JSON."""

START, CHOICE, VERSION = "start", "choice", "version"
"""Names of notes."""

_BASIS = "basis"
"""The note of what all the others hold for."""

_OWNER_FILE, _EVENTS_FILE = "of", "event-ids.parquet"
_NO_RUN = "train"
"""Who owns the checkpoints of trainings that no notes are kept of."""


def own_checkpoints(checkpoints: Path) -> None:
    """Make the folder one of a training without notes; what a refresh has left there is removed."""
    if _owner(checkpoints) != _NO_RUN:
        _claim(checkpoints, _NO_RUN)


def noted_start(
    notes: Notes,
    checkpoints: Path | None,
    bundles: Path,
    settings: TrainingSettings,
    service: Service,
) -> Start | None:
    """Return what the noted training goes on from; None where that is still to be found out.

    Where the notes do not hold any more, they and the checkpoints are forgotten, and a line of the
    log says why: a model would serve that was judged as another one, or as of another shop. They
    hold as long as

    - the settings of training and service are the same. Gates may change: they are asked anew,
    - the bundle serves that served then, which the model was compared with, or its own does,
    - the checkpoints are its own: no other training has used the folder since,
    - what it goes on from can be read.
    """
    basis = {
        "settings": _digest(settings, service),
        "current": current_version(bundles),
        "checkpoints": None if checkpoints is None else _owner(checkpoints),
    }
    start, reason = _start(notes, basis, bundles, settings)
    if reason is None:
        return start
    if notes:
        structlog.get_logger(__name__).warning("refresh_begins_anew", reason=reason)
    # First what all others hold for: killed in between, they hold for nothing.
    notes.pop(_BASIS, None)
    notes.clear()
    if checkpoints is not None:
        owner = secrets.token_hex(8)
        _claim(checkpoints, owner)
        basis["checkpoints"] = owner
    notes[_BASIS] = basis
    return None


def events_as_begun(events: pl.DataFrame, checkpoints: Path) -> pl.DataFrame:
    """Return those of `events` that there were when the refresh that owns `checkpoints` began.

    Events come at any time: a training that went on among others would be none of either, and be
    judged by another slice than it has kept its best epoch of. Those that were erased since are
    not kept: of the events, ids alone are written down.
    """
    file = checkpoints / _EVENTS_FILE
    if file.exists():
        return events.join(pl.read_parquet(file), on="event_id", how="semi")
    with replacing(file) as unfinished:
        events.select("event_id").write_parquet(unfinished)
    return events


def _start(
    notes: Notes, now: dict[str, str | None], bundles: Path, settings: TrainingSettings
) -> tuple[Start | None, str | None]:
    """Return the noted start, if there is one, and why the notes do not hold, if they do not."""
    noted = notes.get(_BASIS)
    if noted is None:
        return None, "it is not noted what the notes hold for"
    if noted["settings"] != now["settings"]:
        return None, "its settings have changed"
    serving = now["current"]
    if serving != noted["current"] and (serving is None or serving != notes.get(VERSION)):
        return None, f"{serving} serves, and not {noted['current']} as when it began"
    if now["checkpoints"] is None or noted["checkpoints"] != now["checkpoints"]:
        return None, "its checkpoints are not there any more"
    if START not in notes:
        return None, None
    version, reason = notes[START]["version"], notes[START]["reason"]
    if version is None:
        return Start(None, reason), None
    start = start_from(bundles / version, settings)
    return start, None if start.warm else start.reason


def _digest(settings: TrainingSettings, service: Service) -> str:
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
