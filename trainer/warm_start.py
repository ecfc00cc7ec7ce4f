"""Starts a training from a published bundle: from its weights, moved to where they belong now.

A bundle keeps beside its SavedModel what a training needs and a server does not:

    weights/towers.safetensors   every trained weight, float32, by its path in the model
    weights/vocabulary.json      what the rows of its tables stand for

Neither runs code when it is read (https://huggingface.co/docs/safetensors), and the manifest has
their checksums.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from serving.bundle import CANDIDATE_IDS, BundleError, Manifest, read_ids, verify
from trainer.candidate_tower import CandidateVocabulary
from trainer.settings import TextSettings, TrainingSettings
from trainer.text_tower import text_model_digest
from trainer.two_tower_model import TwoTowerModel, blank_model

WEIGHTS = "weights/towers.safetensors"
VOCABULARY = "weights/vocabulary.json"

CANDIDATE_TABLES = {
    "candidate_tower/id": "item_ids",
    "candidate_tower/category": "categories",
    "candidate_tower/brand": "brands",
    "candidate_tower/tag": "tags",
}
"""Weights whose row i + 1 is that of name i in this field of the vocabulary; row 0 is unknown."""

EVENT_TYPE_TABLES = ("query_tower/type", "query_tower/type_embeddings")
"""The same of event types."""

FREE = frozenset(
    {
        "text",
        "ranking",
        "holdout",
        "holdout_share",
        "epochs",
        "batch_size",
        "learning_rate",
        "num_sampled_negatives",
        "queries_per_step",
        "seed",
        "precision",
        "strategy",
        "tensorboard",
        "warm_start",
    }
)
"""Settings that may differ in a warm start. All others change the model or its examples."""


class ColdStartError(ValueError):
    """A training cannot start from this bundle. The message says why."""


class _Vocabulary(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    text_model: str
    # Older bundles lack this: they hold the items that they were trained on, and no others.
    item_ids: tuple[str, ...] | None = None
    event_types: tuple[str, ...]
    categories: tuple[str, ...]
    brands: tuple[str, ...]
    tags: tuple[str, ...]
    price_boundaries: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class WarmStart:
    """What a training starts from.

    version: of the bundle. end: the newest event that it learned from. weights: float32, by path.
    """

    version: str
    end: datetime | None
    vocabulary: CandidateVocabulary
    event_types: Sequence[str]
    weights: Mapping[str, npt.NDArray[np.float32]]

    @classmethod
    def read(cls, path: Path, settings: TrainingSettings) -> "WarmStart":
        """Return what the bundle at `path` has for a training with these settings.

        Raises `ColdStartError` where its settings or text model differ, it has no weights or
        other weights than a model has now, or it is damaged.
        """
        try:
            manifest = verify(path)
            if WEIGHTS not in manifest.files or VOCABULARY not in manifest.files:
                raise ColdStartError(f"{path.name} holds no weights to go on from.")
            stored = _Vocabulary.model_validate_json((path / VOCABULARY).read_bytes())
            _check_fit(manifest, stored, settings)
            item_ids = stored.item_ids
            vocabulary = CandidateVocabulary(
                item_ids=read_ids(path / CANDIDATE_IDS) if item_ids is None else item_ids,
                categories=stored.categories,
                brands=stored.brands,
                tags=stored.tags,
                price_boundaries=stored.price_boundaries,
            )
            end, weights = manifest.data_window.end, load_file(path / WEIGHTS)
            warm = cls(path.name, end, vocabulary, stored.event_types, weights)
            # A training with the weights of another version of Riverrun would fail later.
            now = blank_model(settings, manifest.text_dimension, vocabulary.price_boundaries)
            carry_over(warm, now, ())
            return warm
        except (BundleError, ValidationError, SafetensorError, OSError) as error:
            raise ColdStartError(f"{path.name} cannot be read: {error}") from error


def write_weights(
    folder: Path,
    model: TwoTowerModel,
    event_types: Sequence[str],
    text: TextSettings,
) -> None:
    """Write the weights of `model` into the bundle that is built in `folder`."""
    vocabulary = _Vocabulary(
        text_model=text_model_digest(text),
        event_types=tuple(event_types),
        **asdict(model.candidate_tower.vocabulary),
    )
    (folder / WEIGHTS).parent.mkdir()
    (folder / VOCABULARY).write_bytes(orjson.dumps(vocabulary.model_dump()))
    weights = {
        variable.path: np.asarray(variable.numpy(), np.float32)
        for variable in model.trainable_variables
    }
    save_file(weights, folder / WEIGHTS)


def carry_over(warm: WarmStart, model: TwoTowerModel, event_types: Sequence[str]) -> None:
    """Give `model` the weights of `warm`.

    Rows of known items, categories, brands, tags and event types move to their new indices. Rows of
    new ones keep their initial values.

    Raises:
        ColdStartError: the model has weights that `warm` lacks, or has in another shape.
    """
    now: CandidateVocabulary = model.candidate_tower.vocabulary
    moves: dict[str, tuple[Sequence[str], Sequence[str]]] = {
        table: (getattr(warm.vocabulary, names), getattr(now, names))
        for table, names in CANDIDATE_TABLES.items()
    }
    moves |= dict.fromkeys(EVENT_TYPE_TABLES, (warm.event_types, event_types))
    for variable in model.trainable_variables:
        carried = warm.weights.get(variable.path)
        if carried is None:
            raise ColdStartError(f"{warm.version} has no weight {variable.path!r}.")
        table = variable.path.removeprefix(f"{model.name}/")
        shape = tuple(variable.shape)
        if table in moves:
            shape = (len(moves[table][0]) + 1, *shape[1:])
        if carried.shape != shape:
            raise ColdStartError(
                f"weight {variable.path!r} must have shape {shape}. "
                f"Received: {carried.shape}, of {warm.version}."
            )
        if table in moves:
            carried = _moved(carried, *moves[table], variable.numpy())
        variable.assign(carried)


def _moved(
    table: npt.NDArray[np.float32],
    before: Sequence[str],
    after: Sequence[str],
    initial: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Return `initial` with the rows of `table` for the names `after` that are in `before`."""
    place = {name: row for row, name in enumerate(before, 1)}
    known = [(row, place[name]) for row, name in enumerate(after, 1) if name in place]
    moved = initial.copy()
    rows = np.array([(0, 0), *known], dtype=np.int64)
    moved[rows[:, 0]] = table[rows[:, 1]]
    return moved


def _check_fit(manifest: Manifest, vocabulary: _Vocabulary, settings: TrainingSettings) -> None:
    stored: Any = manifest.model.get("settings")
    if not isinstance(stored, dict):
        raise ColdStartError(f"{manifest.version} does not say what it was trained with.")
    wanted = orjson.loads(settings.model_dump_json())
    for name in sorted((stored.keys() | wanted.keys()) - FREE):
        if stored.get(name) != wanted.get(name):
            raise ColdStartError(
                f"{name} is {wanted.get(name)!r} now, and {manifest.version} has "
                f"{stored.get(name)!r}."
            )
    if vocabulary.text_model != text_model_digest(settings.text):
        raise ColdStartError(f"{manifest.version} has another text model.")
    rank = stored.get("text", {}).get("lora_rank")
    if rank != settings.text.lora_rank:
        raise ColdStartError(
            f"text.lora_rank is {settings.text.lora_rank} now, and {manifest.version} has {rank}."
        )
