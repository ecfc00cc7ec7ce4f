"""The records of the compacted topic `item-embeddings`: an item with its embedding.

key: item_id. value: an `ItemChangeRecord`; a tombstone deletes the item. One record carries both,
so that no replica can know an item's price without its vector, or the reverse (ADR 0004). A record
without "item" moves the embedding of an item that all replicas have from their bundle; all else of
the item stays as the next bundle has it.
"""

import base64
import binascii
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json

from feature_repo.event_log import LogRecord, Message
from feature_repo.schema import SCHEMA_VERSION, Item


class ItemChangeRecord(BaseModel):
    """An item with its embedding. A null value: the item is gone."""

    item: Item | None = Field(
        default=None, description="As in `items`; absent, what the bundles say of it stays."
    )
    embedding: str = Field(
        description="Little-endian float32, in base64.",
        json_schema_extra={"contentEncoding": "base64"},
    )
    bundle_version: str = Field(description="The bundle in whose space the embedding lies.")


class ChangelogError(ValueError):
    """A record that is no item change. The message names offset and reason."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemUpsert:
    """An item and its candidate embedding, float32 [dimension], in the space of one bundle."""

    item: Item
    embedding: npt.NDArray[np.float32]
    bundle_version: str

    @property
    def item_id(self) -> str:
        """The item's id."""
        return self.item.item_id


@dataclass(frozen=True, slots=True, eq=False)
class ItemMove:
    """A new embedding, float32 [dimension], of an item that only the bundles hold."""

    item_id: str
    embedding: npt.NDArray[np.float32]
    bundle_version: str


@dataclass(frozen=True, slots=True)
class ItemDeletion:
    """The item is gone."""

    item_id: str


ItemChange = ItemUpsert | ItemMove | ItemDeletion


def encode_change(change: ItemChange) -> Message:
    """Return the message that `decode_change` reads back."""
    if isinstance(change, ItemDeletion):
        return Message(change.item_id, None)
    embedding = base64.b64encode(change.embedding.astype("<f4").tobytes()).decode()
    document = {
        "version": SCHEMA_VERSION,
        "embedding": embedding,
        "bundle_version": change.bundle_version,
    }
    if isinstance(change, ItemUpsert):
        item = orjson.Fragment(change.item.model_dump_json())
        return Message(change.item_id, orjson.dumps({"item": item, **document}))
    return Message(change.item_id, orjson.dumps(document))


def decode_change(record: LogRecord) -> ItemChange:
    """Return the change in `record`, or raise `ChangelogError`."""
    if record.key is None:
        raise ChangelogError(_describe(record, "has no key."))
    if record.value is None:
        return ItemDeletion(record.key)
    try:
        # Not orjson: an item may hold integers beyond 64 bits.
        document = from_json(record.value)
        raw = base64.b64decode(document["embedding"], validate=True)
        embedding = np.frombuffer(raw, dtype="<f4").astype(np.float32)
        bundle_version = str(document["bundle_version"])
        said = document.get("item")
        item = None if said is None else Item.model_validate(said)
    except (ValidationError, binascii.Error, ValueError, KeyError, TypeError) as error:
        raise ChangelogError(_describe(record, f"is no item change: {error}")) from error
    if item is not None and item.item_id != record.key:
        raise ChangelogError(_describe(record, f"holds another item: {item.item_id!r}."))
    if not np.isfinite(embedding).all():
        raise ChangelogError(_describe(record, "holds a value that is not finite."))
    if item is None:
        return ItemMove(record.key, embedding, bundle_version)
    return ItemUpsert(item, embedding, bundle_version)


def _describe(record: LogRecord, reason: str) -> str:
    topic, partition = record.source
    return f"record {topic}/{partition}@{record.offset} (key {record.key!r}) {reason}"
