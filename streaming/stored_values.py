"""How values are stored and read back, in whatever engine keeps the state."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import orjson

from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.schema import Item, User
from streaming.additive import ADDITIVE, FOLD_IN
from streaming.erasures import Moments
from streaming.stream_state import HISTORY, ITEM, USER, Key, Slice
from streaming.updates import Updates

R = TypeVar("R", Item, User)

Stored = Iterable[tuple[str, bytes]]
"""What an engine has stored of the ids that it was asked for, those that it has."""


@dataclass(frozen=True, slots=True)
class StoredValues:
    """The values of a commit as they are stored.

    histories: by user id. erased: the users who have no history any more. records: items and
    users, empty where one was deleted. parts: the partition's additive state, by kind and item id.
    """

    histories: dict[str, bytes]
    erased: list[str]
    records: dict[Key, bytes]
    parts: dict[str, dict[str, bytes]]

    @classmethod
    def of(cls, updates: Updates) -> "StoredValues":
        """Encode all of `updates` that is stored by user or item."""
        return cls(
            histories={
                user_id: encode_history(history, updates.moments.get(user_id))
                for user_id, history in updates.histories.items()
                if history.events
            },
            erased=[key for key, history in updates.histories.items() if not history.events],
            records={
                **{(ITEM, key): encode_stored(item) for key, item in updates.items.items()},
                **{(USER, key): encode_stored(user) for key, user in updates.users.items()},
            },
            parts={
                kind.name: {key: kind.encode(each) for key, each in kind.of(updates).items()}
                for kind in ADDITIVE
            },
        )


def decode_slice(
    version: int,
    positions: dict[str, int],
    histories: Stored,
    erasures: Iterable[tuple[str, int]],
    parts: Mapping[str, Stored],
) -> Slice:
    """Return a partition's part of the state. parts: by kind, of those that were read."""
    slice_ = Slice(version, positions, erasures=dict(erasures))
    for user_id, stored in histories:
        history, moments = decode_history(user_id, stored)
        slice_.histories[user_id] = history
        slice_.moments[user_id] = moments
    for kind in ADDITIVE:
        states = kind.of(slice_)
        states.update((key, kind.decode(key, part)) for key, part in parts.get(kind.name, ()))
    return slice_


def ids_to_publish(keys: Iterable[Key]) -> dict[str, list[str]]:
    """Return the ids, by kind, whose values are needed to publish these keys."""
    kinds = (HISTORY, ITEM, USER, *(kind.name for kind in ADDITIVE))
    ids: dict[str, list[str]] = {kind: [] for kind in kinds}
    for kind, key in keys:
        # A kind that is not known here was written by a newer version.
        ids.setdefault(kind, []).append(key)
    # An item's embedding depends on its fold-in sums.
    ids[FOLD_IN.name] = [*{*ids[FOLD_IN.name], *ids[ITEM]}]
    return ids


def decode_updates(
    user_ids: Iterable[str],
    histories: Stored,
    items: Stored,
    users: Stored,
    parts: Mapping[str, Stored],
) -> Updates:
    """Return values to publish.

    user_ids: whose histories were asked for; one who has none was erased. parts: of all
    partitions, by kind.
    """
    known = {user_id: decode_history(user_id, stored)[0] for user_id, stored in histories}
    updates = Updates(
        histories={user_id: known.get(user_id) or UserHistory(user_id) for user_id in user_ids},
        items=decode_records(Item, items),
        users=decode_records(User, users),
    )
    for kind in ADDITIVE:
        kind.of(updates).update(kind.merged(parts[kind.name]))
    return updates


def encode_stored(record: Item | User | None) -> bytes:
    """Return the JSON of a record, and nothing for a deleted one."""
    return b"" if record is None else record.model_dump_json().encode()


def decode_records(model: type[R], records: Stored) -> dict[str, R | None]:
    """Return items or users by id, None for a deleted one."""
    return {key: model.model_validate_json(each) if each else None for key, each in records}


def encode_history(history: UserHistory, moments: Moments | None) -> bytes:
    """Return the events, and their moments, as JSON columns.

    Columns take half the time of rows of objects, both ways. moments: None says that the events
    were imported.
    """
    placed = (0,) * len(history.events) if moments is None else moments
    return orjson.dumps([*zip(*history.events, strict=True), placed])


def decode_history(user_id: str, stored: bytes) -> tuple[UserHistory, Moments]:
    """Return what `encode_history` was given; moments are 0 where none were stored."""
    columns = orjson.loads(stored)
    *events, moments = columns if len(columns) == _COLUMNS else (*columns, [0] * len(columns[0]))
    return UserHistory(user_id, tuple(map(_EVENT, zip(*events, strict=True)))), tuple(moments)


_COLUMNS = len(HistoryEvent._fields) + 1

# HistoryEvent._make without its Python frame: histories are most of what is read.
_EVENT: Callable[[Iterable[Any]], HistoryEvent] = partial(tuple.__new__, HistoryEvent)
