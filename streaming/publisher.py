"""Makes new state visible to readers: embeds it, and writes item changelog and online store.

Only whole values are written, never increments, so publishing is idempotent.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from feature_repo.co_visitation import heaviest
from feature_repo.event_log import ITEM_EMBEDDINGS, EventLog
from feature_repo.history import UserHistory
from feature_repo.online_features import (
    FeatureRecord,
    ItemEmbedding,
    OnlineFeatures,
    UserEmbedding,
)
from feature_repo.schema import Item, User
from serving.encoder import Encoder
from serving.item_changelog import (
    ItemChange,
    ItemDeletion,
    ItemMove,
    ItemUpsert,
    encode_change,
)
from streaming.fold_in import FoldIn, moved
from streaming.metrics import StreamMetrics
from streaming.served_model import ServedModel
from streaming.settings import StreamingSettings
from streaming.stream_state import OpenState
from streaming.updates import Updates

NO_BUNDLE = ""
"""The bundle version of an item without an embedding: every serving replica makes its own."""

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Moved:
    """Items whose moved embeddings are in the changelog.

    known: the items as they were in the state, those that it has. embeddings: all that moved.
    """

    known: Mapping[str, Item | None]
    embeddings: Sequence[ItemEmbedding]


class Publisher:
    """Writes `Updates` to the item changelog and the online store.

    A failing encoder does not stop it: histories and items are published without embeddings, which
    readers then make themselves. So is a history of which no item has an embedding yet: the query
    tower's answer to an empty history is nobody's taste.

    clock: gives the moment as of which items are encoded.
    """

    def __init__(
        self,
        log: EventLog,
        online: OnlineFeatures,
        state: OpenState,
        model: ServedModel,
        metrics: StreamMetrics,
        clock: Callable[[], datetime],
        settings: StreamingSettings | None = None,
    ) -> None:
        self._log = log
        self._online = online
        self._state = state
        self._model = model
        self._metrics = metrics
        self._clock = clock
        self._settings = settings or StreamingSettings()
        self._logger = structlog.get_logger(__name__)

    def publish(self, updates: Updates) -> None:
        """Make `updates` visible to readers. Raises what the log and the store raise.

        Whoever tries again calls the four steps, each until it succeeds: what is in the changelog
        must not be appended once more because the store is down.
        """
        self.push(updates, self.append_items(updates.items, updates.fold_in))
        self.push_moved(updates, self.append_moved(updates))

    def append_items(
        self, changed: Mapping[str, Item | None], sums: Mapping[str, FoldIn]
    ) -> list[ItemEmbedding]:
        """Append changed and deleted items to the changelog; return the embeddings to push."""
        items = [item for item in changed.values() if item is not None]
        gone = [item_id for item_id, item in changed.items() if item is None]
        embeddings = self._item_embeddings(self._model.encoder, items, sums)
        self._append([*_upserts(items, embeddings), *map(ItemDeletion, gone)])
        return [each for each in embeddings if each.bundle_version != NO_BUNDLE]

    def push(self, updates: Updates, item_embeddings: Sequence[ItemEmbedding]) -> None:
        """Push all to the online store. Items come first: a history may hold one of this batch."""
        encoder = self._model.encoder
        histories = [history for history in updates.histories.values() if history.events]
        embeddings = self._user_embeddings(encoder, histories)
        records: list[FeatureRecord] = [*histories, *embeddings.values()]
        records += [user for user in updates.users.values() if user is not None]
        records += updates.statistics.values()
        # Where co-visitation is off, the neighbours in the store stay as they are.
        if most := self._settings.co_visitation.neighbours:
            records += [heaviest(each, most) for each in updates.co_visitation.values()]
        with self._metrics.stage("online store"):
            self._forget_users(updates)
            self._forget_embeddings(histories, embeddings)
            self._push_items(updates.items, item_embeddings, records)

    def append_moved(self, updates: Updates) -> Moved:
        """Append the moved embeddings of items that are otherwise unchanged to the changelog."""
        moved_ids = [
            item_id
            for item_id, sums in updates.fold_in.items()
            if any(each.weight > 0 for each in sums.spaces) and item_id not in updates.items
        ]
        encoder = self._model.encoder
        if encoder is None or not moved_ids:
            return Moved({}, [])
        known = self._state.items(moved_ids)
        items = [known[key] if key in known else self._model.item(key) for key in moved_ids]
        present = [item for item in items if item is not None]
        embeddings = self._item_embeddings(encoder, present, updates.fold_in)
        # Where encoding failed: the embedding that readers have is better than none.
        if any(each.bundle_version == NO_BUNDLE for each in embeddings):
            return Moved({}, [])
        self._append([_moved(known, *pair) for pair in zip(present, embeddings, strict=True)])
        return Moved(known, embeddings)

    def push_moved(self, updates: Updates, moved: Moved) -> None:
        """Push moved embeddings to the online store.

        Another worker may change or delete such an item meanwhile. So the items are compared with
        the state afterwards, and published again where they differ: the last write is the newest.
        """
        if not moved.embeddings:
            return
        with self._metrics.stage("online store"):
            self._online.push(moved.embeddings)
        known = dict(moved.known)
        published = [each.item_id for each in moved.embeddings]
        while changed := self._changed(published, known):
            embeddings = self.append_items(changed, updates.fold_in)
            with self._metrics.stage("online store"):
                self._push_items(changed, embeddings, [])
            known |= changed

    def publish_user_embeddings(self, histories: Sequence[UserHistory]) -> None:
        """Push the embeddings of these users, without their histories.

        A user who has none now, as one with an empty history, loses the stored embedding.
        """
        encoder = self._model.encoder
        embeddings = self._user_embeddings(encoder, [each for each in histories if each.events])
        with self._metrics.stage("online store"):
            self._forget_embeddings(histories, embeddings)
            if embeddings:
                self._online.push([*embeddings.values()])

    def _push_items(
        self,
        changed: Mapping[str, Item | None],
        embeddings: Sequence[ItemEmbedding],
        others: Sequence[FeatureRecord],
    ) -> None:
        """Delete the items that are gone; push the changed ones, their embeddings and `others`."""
        if gone := [item_id for item_id, item in changed.items() if item is None]:
            self._online.delete(Item, gone)
            self._online.delete(ItemEmbedding, gone)
            # Not its statistics and neighbours, which are not told again when the item comes back.
        items = [item for item in changed.values() if item is not None]
        if records := [*items, *embeddings, *others]:
            self._online.push(records)

    def _changed(
        self, item_ids: Collection[str], known: Mapping[str, Item | None]
    ) -> dict[str, Item | None]:
        """Return, as they are in the state now, those of the items that differ from `known`."""
        now = self._state.items(item_ids)
        return {key: now[key] for key in now if key not in known or now[key] != known[key]}

    def _append(self, changes: Sequence[ItemChange]) -> None:
        if changes:
            with self._metrics.stage("changelog"):
                self._log.append(ITEM_EMBEDDINGS, [encode_change(change) for change in changes])

    def _item_embeddings(
        self, encoder: Encoder | None, items: Sequence[Item], sums: Mapping[str, FoldIn]
    ) -> list[ItemEmbedding]:
        vectors = np.zeros((len(items), 0), np.float32)
        version = NO_BUNDLE
        if encoder is not None and items:
            at = self._clock()
            made = self._encode("items", len(items), lambda: encoder.encode_candidates(items, at))
            if made is not None:
                vectors, version = made, encoder.bundle_version
                space = self._model.space
                settings = self._settings.fold_in
                # The state has sums still where fold-in was turned off.
                if settings.prior and space is not None and space.bundle_version == version:
                    item_ids = [item.item_id for item in items]
                    vectors = moved(vectors, item_ids, sums, space, settings)
        return [
            ItemEmbedding(item.item_id, vector, version)
            for item, vector in zip(items, vectors, strict=True)
        ]

    def _user_embeddings(
        self, encoder: Encoder | None, histories: Sequence[UserHistory]
    ) -> dict[str, UserEmbedding]:
        """Return, by user id, the embeddings of those histories that can be embedded."""
        if encoder is None or not histories:
            return {}
        # Ask before encoding: an item that gets its embedding meanwhile counts as left out.
        unknown = self._unknown_items(histories)
        if unknown:
            histories = [
                history
                for history in histories
                if any(event.item_id not in unknown for event in history.events)
            ]
        if not histories:
            return {}
        vectors = self._encode("users", len(histories), lambda: encoder.encode_queries(histories))
        if vectors is None:
            return {}
        return {
            history.user_id: UserEmbedding(
                history.user_id,
                vector,
                encoder.bundle_version,
                history.events[-1].timestamp,
                _items_among(unknown, history) if unknown else (),
            )
            for history, vector in zip(histories, vectors, strict=True)
        }

    def _unknown_items(self, histories: Sequence[UserHistory]) -> set[str]:
        """Return the items of the histories that the encoder has no embedding of."""
        item_ids = list({event.item_id for history in histories for event in history.events})
        return set(compress(item_ids, ~self._model.has_embeddings(item_ids)))

    def _forget_embeddings(
        self, histories: Sequence[UserHistory], embeddings: Collection[str]
    ) -> None:
        """Delete the stored embeddings of users who have none now: they are of older histories."""
        gone = [history.user_id for history in histories if history.user_id not in embeddings]
        if not gone:
            return
        # After an import these are all users, and hardly any has one: a deletion costs a write.
        stored = self._online.get(UserEmbedding, gone)
        if old := [each.user_id for each in stored if each is not None]:
            self._online.delete(UserEmbedding, old)

    def _encode(self, what: str, count: int, encode: Callable[[], Vectors]) -> Vectors | None:
        try:
            with self._metrics.stage(f"encode {what}"):
                vectors = encode()
            if vectors.shape[0] == count and np.isfinite(vectors).all():
                return vectors
            reason: Any = f"returned {vectors.shape} or a value that is not finite"
        except Exception as error:  # noqa: BLE001 — whatever ails a model must not stop the stream
            reason = error
        self._metrics.failed_encodings.inc(count)
        self._logger.error("encoder_failed", what=what, count=count, reason=str(reason))
        return None

    def _forget_users(self, updates: Updates) -> None:
        erased = [key for key, history in updates.histories.items() if not history.events]
        if erased:
            self._online.delete(UserHistory, erased)
            self._online.delete(UserEmbedding, erased)
        gone = [key for key, user in updates.users.items() if user is None]
        if gone:
            self._online.delete(User, gone)


def _items_among(item_ids: Collection[str], history: UserHistory) -> tuple[str, ...]:
    """Return those of the items that are in the history, each once."""
    items = (event.item_id for event in history.events)
    return tuple(dict.fromkeys(item_id for item_id in items if item_id in item_ids))


def _moved(known: Collection[str], item: Item, embedding: ItemEmbedding) -> ItemChange:
    # An item that the state lacks comes from the bundle, and may differ in the next one: the
    # changelog gets its embedding alone.
    if item.item_id not in known:
        return ItemMove(item.item_id, embedding.vector, embedding.bundle_version)
    return ItemUpsert(item, embedding.vector, embedding.bundle_version)


def _upserts(items: Iterable[Item], embeddings: Sequence[ItemEmbedding]) -> list[ItemChange]:
    pairs = zip(items, embeddings, strict=True)
    return [ItemUpsert(item, each.vector, each.bundle_version) for item, each in pairs]
