"""From new state to what readers see: embeddings, the item changelog, the online store.

Everything written here is a whole value, so publishing the same updates twice is harmless.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
from serving.candidate_space import CandidateSpace
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
from streaming.settings import StreamingSettings
from streaming.updates import Updates

NO_BUNDLE = ""
"""The bundle version of an item without an embedding: every replica makes its own."""

Vectors = npt.NDArray[np.float32]
Embedded = Callable[[Sequence[str]], npt.NDArray[np.bool_]]


def all_embedded(item_ids: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return that every item has an embedding."""
    return np.ones(len(item_ids), dtype=np.bool_)


class Publisher:
    """Writes `Updates` to the item changelog and the online store.

    An encoder that fails holds nothing up: histories and items go out without embeddings, which
    readers then make from them. So does a history of which no item has an embedding yet: the tower
    has an answer for nobody, but it is no user's.

    embedded: bool [n], which of n items the encoder has embeddings of, for histories.
    space, items: the scale of the bundle's candidates, and the items as they are in the state, None
    where one was deleted; without them no embedding moves. served: gives an item as the bundle has
    it, which is all that is known of one that was imported and never sent.
    """

    def __init__(
        self,
        log: EventLog,
        online: OnlineFeatures,
        encoder: Callable[[], Encoder | None],
        metrics: StreamMetrics,
        clock: Callable[[], datetime],
        space: Callable[[], CandidateSpace | None] = lambda: None,
        items: Callable[[Collection[str]], Mapping[str, Item | None]] = lambda _: {},
        settings: StreamingSettings | None = None,
        served: Callable[[str], Item | None] = lambda _: None,
        embedded: Embedded = all_embedded,
    ) -> None:
        self._log = log
        self._online = online
        self._encoder = encoder
        self._metrics = metrics
        self._clock = clock
        self._space = space
        self._items = items
        self._served = served
        self._embedded = embedded
        self._settings = settings or StreamingSettings()
        self._logger = structlog.get_logger(__name__)

    def publish(self, updates: Updates) -> None:
        """Make `updates` visible. Raises what the log and the store raise."""
        encoder = self._encoder()
        # Items before users: a history may hold an item of this very batch.
        records = self._publish_items(encoder, updates.items, updates.fold_in)
        histories = [history for history in updates.histories.values() if history.events]
        records += histories
        embeddings = self._user_embeddings(encoder, histories)
        records += embeddings.values()
        records += [user for user in updates.users.values() if user is not None]
        records += updates.statistics.values()
        # Where it is turned off, readers keep what they were told before: that is not blanked.
        if most := self._settings.co_visitation.neighbours:
            records += [heaviest(each, most) for each in updates.co_visitation.values()]
        with self._metrics.stage("online store"):
            self._forget_users(updates)
            self._forget_embeddings(encoder, histories, embeddings)
            if records:
                self._online.push(records)
        self._publish_moved(encoder, updates)

    def publish_user_embeddings(self, histories: Sequence[UserHistory]) -> None:
        """Make the embeddings of these users visible, without their histories.

        An empty history takes its user's embedding away.
        """
        encoder = self._encoder()
        embeddings = self._user_embeddings(encoder, [each for each in histories if each.events])
        with self._metrics.stage("online store"):
            self._forget_embeddings(encoder, histories, embeddings)
            if embeddings:
                self._online.push([*embeddings.values()])

    def _publish_items(
        self,
        encoder: Encoder | None,
        changed: Mapping[str, Item | None],
        sums: Mapping[str, FoldIn],
    ) -> list[FeatureRecord]:
        """Tell the changelog of changed items, and return what the store is to be told of them."""
        items = [item for item in changed.values() if item is not None]
        gone = [item_id for item_id, item in changed.items() if item is None]
        embeddings = self._item_embeddings(encoder, items, sums)
        self._append([*_upserts(items, embeddings), *map(ItemDeletion, gone)])
        if gone:
            self._online.delete(Item, gone)
            self._online.delete(ItemEmbedding, gone)
        return [*items, *(each for each in embeddings if each.bundle_version != NO_BUNDLE)]

    def _publish_moved(self, encoder: Encoder | None, updates: Updates) -> None:
        """Make the embeddings visible that moved, of items which are otherwise unchanged.

        Another worker may change or delete such an item meanwhile: what was published is compared
        with the state afterwards, so that whoever writes last writes the newest.
        """
        moved_ids = [
            item_id
            for item_id, sums in updates.fold_in.items()
            if any(each.weight > 0 for each in sums.spaces) and item_id not in updates.items
        ]
        if encoder is None or not moved_ids:
            return
        known = {**self._items(moved_ids)}
        items = [known[key] if key in known else self._served(key) for key in moved_ids]
        present = [item for item in items if item is not None]
        embeddings = self._item_embeddings(encoder, present, updates.fold_in)
        # The embedding that readers have is better than none.
        if not present or any(each.bundle_version == NO_BUNDLE for each in embeddings):
            return
        self._append([_moved(known, *pair) for pair in zip(present, embeddings, strict=True)])
        self._push(embeddings)
        published = [item.item_id for item in present]
        while changed := self._changed(published, known):
            self._push(self._publish_items(encoder, changed, updates.fold_in))
            known |= changed

    def _changed(
        self, item_ids: Collection[str], known: Mapping[str, Item | None]
    ) -> dict[str, Item | None]:
        """Return those of the items that are not as they were `known`, as they are now."""
        now = self._items(item_ids)
        return {key: now[key] for key in now if key not in known or now[key] != known[key]}

    def _append(self, changes: Sequence[ItemChange]) -> None:
        if changes:
            with self._metrics.stage("changelog"):
                self._log.append(ITEM_EMBEDDINGS, [encode_change(change) for change in changes])

    def _push(self, records: Sequence[FeatureRecord]) -> None:
        if records:
            with self._metrics.stage("online store"):
                self._online.push(records)

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
                space = self._space()
                if space is not None and space.bundle_version == version:
                    item_ids = [item.item_id for item in items]
                    vectors = moved(vectors, item_ids, sums, space, self._settings.fold_in)
        return [
            ItemEmbedding(item.item_id, vector, version)
            for item, vector in zip(items, vectors, strict=True)
        ]

    def _user_embeddings(
        self, encoder: Encoder | None, histories: Sequence[UserHistory]
    ) -> dict[str, UserEmbedding]:
        """Return by user the embeddings of histories that can be embedded."""
        if encoder is None or not histories:
            return {}
        # Before they are encoded: what comes meanwhile passes for left out.
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
        """Return the items of the histories that have no embedding here."""
        item_ids = list({event.item_id for history in histories for event in history.events})
        return set(compress(item_ids, ~self._embedded(item_ids)))

    def _forget_embeddings(
        self,
        encoder: Encoder | None,
        histories: Sequence[UserHistory],
        embeddings: Collection[str],
    ) -> None:
        """Take away what is stored of users who have no embedding now: it is of an older history.

        Without a bundle there is nothing that a reader would use.
        """
        gone = [history.user_id for history in histories if history.user_id not in embeddings]
        if encoder is not None and gone:
            self._online.delete(UserEmbedding, gone)

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
    """Return those of the items that the history has, each once."""
    items = (event.item_id for event in history.events)
    return tuple(dict.fromkeys(item_id for item_id in items if item_id in item_ids))


def _moved(known: Collection[str], item: Item, embedding: ItemEmbedding) -> ItemChange:
    # What the state does not know, the next bundle may know otherwise: no record is to say it.
    if item.item_id not in known:
        return ItemMove(item.item_id, embedding.vector, embedding.bundle_version)
    return ItemUpsert(item, embedding.vector, embedding.bundle_version)


def _upserts(items: Iterable[Item], embeddings: Sequence[ItemEmbedding]) -> list[ItemChange]:
    pairs = zip(items, embeddings, strict=True)
    return [ItemUpsert(item, each.vector, each.bundle_version) for item, each in pairs]
