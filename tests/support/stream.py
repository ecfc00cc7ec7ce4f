"""Stand-ins in memory for what lies around the worker, and an encoder that is a pure function."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from feature_repo.history import UserHistory
from feature_repo.online_features import (
    ItemEmbedding,
    UserEmbedding,
    key_of,
)
from feature_repo.schema import Event, Item, User
from serving.candidate_space import CandidateSpace
from streaming.shop_identity import SHOP_KEY
from streaming.store_watch import AGE_KEYS, MARK_KEY

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DIMENSION = 4


SPACE = CandidateSpace("v1", DIMENSION - 1, 1.0, {"i0": 3})


class HashEncoder:
    """Embeds by hash: equal input, equal vector."""

    bundle_version = "v1"

    def encode_queries(
        self, histories: Sequence[UserHistory], query_texts: Sequence[str] | None = None
    ) -> np.ndarray:
        return np.stack([_vector(repr(history.events)) for history in histories])

    def encode_candidates(self, items: Sequence[Item], at: datetime) -> np.ndarray:
        return np.stack([_vector(item.text) for item in items])

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([_vector(text) for text in texts])


@dataclass
class FakeModel:
    """A served model that tests may change. Every item has an embedding."""

    encoder: Any = field(default_factory=HashEncoder)
    space: CandidateSpace | None = None
    items: Mapping[str, Item] = field(default_factory=dict)

    def item(self, item_id: str) -> Item | None:
        return self.items.get(item_id)

    def has_embeddings(self, item_ids: Sequence[str]) -> np.ndarray:
        return np.ones(len(item_ids), dtype=np.bool_)


def _vector(text: str) -> np.ndarray:
    digest = hashlib.blake2b(text.encode(), digest_size=DIMENSION).digest()
    return np.frombuffer(digest, np.uint8).astype(np.float32)


class MemoryOnline:
    """An online store that outlives its worker."""

    def __init__(self) -> None:
        self.records: dict[tuple[type, str], Any] = {}

    def get(self, view: type, keys: Sequence[str]) -> list[Any]:
        return [self.records.get((view, key)) for key in keys]

    def push(self, records: Sequence[Any]) -> None:
        for record in records:
            self.records[type(record), key_of(record)] = record

    def delete(self, view: type, keys: Sequence[str]) -> None:
        for key in keys:
            self.records.pop((view, key), None)

    def close(self) -> None:
        pass

    def state(self) -> dict[tuple[str, str], Any]:
        """Return the records of the shop: the store's mark and age are others in every run."""
        return {
            (view.__name__, key): comparable(record)
            for (view, key), record in self.records.items()
            if key not in (MARK_KEY, SHOP_KEY, *AGE_KEYS)
        }


def comparable(record: Any) -> Any:
    if isinstance(record, UserEmbedding):
        return record.vector.tolist(), record.bundle_version, record.history_timestamp
    if isinstance(record, ItemEmbedding):
        return record.vector.tolist(), record.bundle_version
    return record


def event(
    number: int, user: str = "u", item: str = "i", minutes: float = 0.0, kind: str = "view"
) -> Event:
    return Event(
        event_id=f"e{number}",
        user_id=user,
        item_id=item,
        event_type=kind,
        timestamp=NOW - timedelta(days=1) + timedelta(minutes=minutes),
    )


def item(number: int, title: str = "kettle") -> Item:
    return Item(item_id=f"i{number}", title=title, price=float(number))


def user(number: int, age: float = 1.0) -> User:
    return User(user_id=f"u{number}", attributes={"age": age})
