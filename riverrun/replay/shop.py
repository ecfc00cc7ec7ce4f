"""A whole shop in one process and one thread, whose clock is the replay's."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import polars as pl

from feature_repo.event_log import EVENTS, ITEM_EMBEDDINGS, ITEMS, EventLog, Message
from feature_repo.in_memory_online_features import InMemoryOnlineFeatures
from feature_repo.online_features import OnlineFeatures, UserEmbedding
from feature_repo.schema import Item
from riverrun.held_model import HeldModel
from riverrun.replay.questions import Moment
from serving.bundle import Bundle
from serving.catalogue import Catalogue
from serving.index_follower import IndexFollower
from serving.item_rows import ItemRows
from serving.live_model import LiveModel, ModelHolder
from serving.recommender import Recommender
from serving.settings import ServingSettings
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.trending import TrendingSource
from serving.text_embedding_cache import TextEmbeddingCache
from streaming.bulk_fold import fold_events
from streaming.materialise import push_unpushed
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.worker import Worker

STATE = "state.sqlite"
BATCH = 256


def fold_past(folder: Path, past: pl.DataFrame, settings: StreamingSettings, length: int) -> None:
    """Write the state of a shop that has learned `past` to `folder`, as an import does."""
    folder.mkdir(parents=True)
    state = SqliteState(folder / STATE)
    log = SqliteLog(folder / "log.sqlite")
    try:
        fold_events(past.lazy(), state, length, settings.co_visitation)
        push_unpushed(state, InMemoryOnlineFeatures(), log, settings)
    finally:
        log.close()
        state.close()


@dataclass(frozen=True, slots=True)
class LearnedOfItems:
    """The sources that read what the stream learns about items."""

    trending: TrendingSource
    co_visitation: CoVisitationSource

    @classmethod
    def none(cls, rows: ItemRows, settings: ServingSettings) -> Self:
        """Return sources that know nothing yet."""
        return cls(TrendingSource(rows, settings), CoVisitationSource(rows, settings))


class ReplayShop:
    """The real log, worker, changelog, index and catalogue, stepped by hand.

    past: the folder that `fold_past` wrote; the shop works on a copy in `folder`.
    """

    def __init__(
        self,
        folder: Path,
        past: Path,
        bundle: Bundle,
        items: Sequence[Item],
        streaming: StreamingSettings,
        serving: ServingSettings,
        texts: TextEmbeddingCache,
        *,
        start: datetime,
        length: int,
    ) -> None:
        folder.mkdir(parents=True)
        shutil.copyfile(past / STATE, folder / STATE)
        self._serving, self._texts = serving, texts
        self._start = self.now = start
        self.length = length
        rows = ItemRows()
        self.catalogue = Catalogue(rows)
        self.catalogue.load_snapshot(items)
        self.holder = ModelHolder(LiveModel.create(bundle, rows, serving, texts))
        self.online = InMemoryOnlineFeatures()
        self.items = LearnedOfItems.none(rows, serving)
        self._log: EventLog = SqliteLog(folder / "log.sqlite")
        self._state = SqliteState(folder / STATE)
        for histories in self._state.all_histories():
            self.online.push(histories)
        self._worker = Worker(
            self._log,
            self.online,
            self._state,
            HeldModel(self.holder, self.catalogue),
            # Everything learned is visible to the next question.
            settings=streaming,
            max_history=length,
            on_statistics=self.items.trending.update,
            on_co_visitation=self.items.co_visitation.update,
            clock=lambda: self.now,
        )
        self._follower = IndexFollower(self._log, self.holder, self.catalogue, lambda: self.now)
        self._changelog = self._log.consumer(None, [ITEM_EMBEDDINGS])
        self._worker.recover()

    def recommender(
        self, items: LearnedOfItems | None = None, *, online: OnlineFeatures | None = None
    ) -> Recommender:
        """Return a recommender over this shop, or over some of its parts and the given ones."""
        items = items or self.items
        return Recommender(
            self.holder,
            self.catalogue,
            online or self.online,
            items.trending,
            items.co_visitation,
            self._serving,
            clock=lambda: self.now,
            max_history=self.length,
        )

    def turn(self, at: datetime) -> None:
        """Set the clock to `at`, but not before the start."""
        self.now = max(at, self._start)

    def learn(self, moment: Moment) -> None:
        """Carry the moment's items and events through log, worker, changelog and index."""
        self.turn(moment.until)
        # A new item is in the index before the first event on it, as in a shop that sells it.
        self._send(ITEMS, [Message(i.item_id, i.model_dump_json().encode()) for i in moment.items])
        self._send(
            EVENTS, [Message(e.user_id, e.model_dump_json().encode()) for e in moment.events]
        )

    def swap(self, bundle: Bundle, items: Sequence[Item]) -> None:
        """Serve another bundle from now on, made from all `items` that have arrived."""
        model = LiveModel.create(bundle, self.catalogue.rows, self._serving, self._texts)
        self.catalogue.load_snapshot(items)
        self.holder.swap(model)

    def frozen(self, user_ids: Sequence[str]) -> InMemoryOnlineFeatures:
        """Return a copy of what is known of these users now."""
        store = InMemoryOnlineFeatures()
        for histories in self._state.all_histories():
            store.push(histories)
        store.push(self._embeddings(user_ids))
        return store

    def embed(self, user_ids: Sequence[str]) -> None:
        """Store the embeddings of these users, as a worker does after each user's event."""
        self.online.push(self._embeddings(user_ids))

    def frozen_items(self) -> LearnedOfItems:
        """Return a copy of what is learned about items now; its counts only decay."""
        items = LearnedOfItems.none(self.catalogue.rows, self._serving)
        for statistics in self._state.all_statistics():
            items.trending.update(statistics)
        for co_visitation in self._state.all_co_visitation():
            items.co_visitation.update(co_visitation)
        return items

    def close(self) -> None:
        """Close the log and the state."""
        self._worker.stop()
        self._changelog.close()
        self._state.close()
        self._log.close()

    def _send(self, topic: str, messages: Sequence[Message]) -> None:
        self._log.append(topic, messages)
        left = len(messages)
        while left > 0:
            left -= self._worker.step()
        while changes := self._changelog.poll(BATCH, 0.0):
            self._follower.apply(changes)

    def _embeddings(self, user_ids: Sequence[str]) -> list[UserEmbedding]:
        known = self._state.load(0, user_ids, ()).histories
        histories = [history for history in known.values() if history.events]
        if not histories:
            return []
        encoder = self.holder.current.encoder
        return [
            UserEmbedding(
                history.user_id, vector, encoder.bundle_version, history.events[-1].timestamp
            )
            for history, vector in zip(histories, encoder.encode_queries(histories), strict=True)
        ]
