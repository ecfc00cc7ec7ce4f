"""From a request to what is known of its user: a query embedding and the events behind it."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from feature_repo.history import HistoryEvent, UserHistory, fold
from feature_repo.online_features import FeatureReader, UserEmbedding
from serving.live_model import LiveModel
from serving.requests import FeaturesUnavailableError, RecommendRequest

CONTEXT_EVENT_TYPE = "view"


@dataclass(frozen=True, slots=True, eq=False)
class UserQuery:
    """embedding: float32 [dimension], None where nothing is known. events: oldest first.

    `events` is empty where the stored embedding was enough and the request asked for no more. seen:
    the stored history and what the request brings, before both are cut to one history.
    """

    embedding: npt.NDArray[np.float32] | None
    events: tuple[HistoryEvent, ...] = ()
    seen: tuple[HistoryEvent, ...] = ()


class UserQueryReader:
    """Reads as little as a request needs: often one stored embedding."""

    def __init__(self, online: FeatureReader, max_history: int) -> None:
        self._online = online
        self._max_history = max_history

    def read(
        self, request: RecommendRequest, model: LiveModel, now: int, *, with_events: bool = False
    ) -> UserQuery:
        """Return the query of `request` in the space of `model`; `now` is in microseconds.

        with_events: whether the events are needed even where an embedding is stored. A user whom
        the online store does not return, because it has failed, is served as an unknown one.
        """
        try:
            return self._read(request, model, now, with_events)
        except FeaturesUnavailableError:  # It has been logged and counted.
            return self._read(replace(request, user_id=None), model, now, with_events)

    def _read(
        self, request: RecommendRequest, model: LiveModel, now: int, with_events: bool
    ) -> UserQuery:
        brings = request.session or request.context_item_ids
        stored = None if brings else self._stored_embedding(request.user_id, model)
        needs_events = with_events or request.exclude_seen or request.explain
        if stored is not None and not needs_events:
            return UserQuery(stored.vector)
        history = self._history(request.user_id)
        extra = (*request.session, *_context_events(request, history, now))
        seen = (*history.events, *extra)
        history = fold(history, extra, self._max_history)
        events = history.events
        if stored is not None and not events:
            return UserQuery(stored.vector)
        # The tower would encode a history of unknown items too, but what is popular is better.
        if not model.knows_any([event.item_id for event in events]):
            return UserQuery(None, events, seen)
        if stored is not None and stored.history_timestamp == events[-1].timestamp:
            return UserQuery(stored.vector, events, seen)
        return UserQuery(model.encode_query(history), events, seen)

    def _stored_embedding(self, user_id: str | None, model: LiveModel) -> UserEmbedding | None:
        if user_id is None:
            return None
        stored = self._online.get(UserEmbedding, [user_id])[0]
        if stored is None or stored.bundle_version != model.bundle_version:
            return None
        # An item that the embedding lacks has arrived since: the history is encoded again.
        if stored.left_out and model.knows_any(stored.left_out):
            return None
        return stored if stored.vector.shape == (model.table.dimension,) else None

    def _history(self, user_id: str | None) -> UserHistory:
        if user_id is None:
            return UserHistory("")
        return self._online.get(UserHistory, [user_id])[0] or UserHistory(user_id)


def seen_items(events: tuple[HistoryEvent, ...], exclude_seen: bool | frozenset[str]) -> list[str]:
    """Return the items of the events that `exclude_seen` names: all, none, or by type."""
    if isinstance(exclude_seen, bool):
        return [event.item_id for event in events] if exclude_seen else []
    return [event.item_id for event in events if event.event_type in exclude_seen]


def _context_events(
    request: RecommendRequest, history: UserHistory, now: int
) -> list[HistoryEvent]:
    # Later than all other events, even where a sender's clock is ahead.
    others = (*history.events, *request.session)
    start = max([now, *(event.timestamp + 1 for event in others)])
    return [
        HistoryEvent(start + place, f"context-{place}", item_id, CONTEXT_EVENT_TYPE, 0.0)
        for place, item_id in enumerate(request.context_item_ids)
    ]
