"""What the new events of a batch teach about items, from the state before the batch.

The edge of `streaming.co_visitation` and `streaming.fold_in`: it looks up what they add to.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import structlog

from feature_repo.history import UserHistory
from feature_repo.online_features import CoVisitation, OnlineFeatures, UserEmbedding
from serving.candidate_space import CandidateSpace
from serving.encoder import Encoder
from streaming import co_visitation, fold_in
from streaming.co_visitation import Pair
from streaming.fold_in import FoldIn
from streaming.metrics import StreamMetrics
from streaming.processor import Act, Updates
from streaming.settings import StreamingSettings


Vector = npt.NDArray[np.float32]


class ItemState(Protocol):
    """What is asked of the state."""

    def co_visitation(self, item_ids: Iterable[str]) -> dict[str, CoVisitation]:
        """Return the neighbours of those items that have any."""
        ...

    def fold_in(self, item_ids: Iterable[str]) -> dict[str, FoldIn]:
        """Return the sums of those items that have any."""
        ...


class Learner:
    """Adds to `Updates` what their acts teach.

    An encoder that fails holds nothing up: the events of the batch then move no embedding.
    """

    def __init__(
        self,
        state: ItemState,
        online: OnlineFeatures,
        encoder: Callable[[], Encoder | None],
        space: Callable[[], CandidateSpace | None],
        settings: StreamingSettings,
        metrics: StreamMetrics,
    ) -> None:
        self._state = state
        self._online = online
        self._encoder = encoder
        self._space = space
        self._settings = settings
        self._metrics = metrics
        self._logger = structlog.get_logger(__name__)

    def learn(self, updates: Updates, before: Mapping[str, UserHistory]) -> None:
        """Set the co-visitation and fold-in of `updates`; `before`: the histories before it."""
        if self._settings.co_visitation.neighbours:
            updates.co_visitation = self._co_visitation(updates.acts)
        if self._settings.fold_in.prior:
            updates.fold_in = self._fold_in(updates.acts, before)

    def _co_visitation(self, acts: Sequence[Act]) -> dict[str, CoVisitation]:
        settings = self._settings.co_visitation
        by_item: dict[str, list[Pair]] = {}
        for act in acts:
            for pair in co_visitation.pairs(act.history, act.event, settings):
                by_item.setdefault(pair.item_id, []).append(pair)
        known = self._state.co_visitation(by_item)
        return {
            item_id: co_visitation.add(
                known.get(item_id) or co_visitation.nothing(item_id), made, settings
            )
            for item_id, made in by_item.items()
        }

    def _fold_in(
        self, acts: Sequence[Act], before: Mapping[str, UserHistory]
    ) -> dict[str, FoldIn]:
        encoder, space = self._encoder(), self._space()
        if encoder is None or space is None or encoder.bundle_version != space.bundle_version:
            return {}
        settings = self._settings.fold_in
        earlier = [_earlier(act) for act in acts]
        tastes = self._tastes(encoder, space, earlier, before)
        known = self._state.fold_in({act.event.item_id for act in acts})
        sums: dict[str, FoldIn] = {}
        for act, history in zip(acts, earlier, strict=True):
            if history not in tastes:
                continue
            item_id, kind = act.event.item_id, act.event.event_type
            own = sums.get(item_id) or known.get(item_id)
            if own is None or own.bundle_version != space.bundle_version:
                own = fold_in.nothing(item_id, space.bundle_version, space.num_tastes)
            weight = settings.event_type_weights.get(kind, 1.0)
            taste, moment = tastes[history], act.event.timestamp
            sums[item_id] = fold_in.add(own, taste, weight, moment, settings)
        return sums

    def _tastes(
        self,
        encoder: Encoder,
        space: CandidateSpace,
        earlier: Sequence[UserHistory],
        before: Mapping[str, UserHistory],
    ) -> dict[UserHistory, Vector]:
        """Return the unit taste of each history that says anything.

        Where a history is the one before the batch, its embedding is stored.
        """
        histories = list({history: None for history in earlier if history.events})
        known = self._stored(encoder.bundle_version, histories, before)
        missing = [history for history in histories if history not in known]
        if missing:
            try:
                with self._metrics.stage("encode acts"):
                    known |= zip(missing, encoder.encode_queries(missing), strict=True)
            except Exception as error:  # noqa: BLE001 - as in `Publisher`: the stream goes on
                self._metrics.failed_encodings.inc(len(missing))
                self._logger.error("encoder_failed", what="acts", reason=str(error))
        if not known:
            return {}
        tastes = space.tastes(np.stack(list(known.values())))
        return {
            history: taste
            for history, taste in zip(known, tastes, strict=True)
            if np.isfinite(taste).all()
        }

    def _stored(
        self, version: str, histories: Sequence[UserHistory], before: Mapping[str, UserHistory]
    ) -> dict[UserHistory, Vector]:
        unchanged = [history for history in histories if history == before.get(history.user_id)]
        found = self._online.get(UserEmbedding, [history.user_id for history in unchanged])
        return {
            history: stored.vector
            for history, stored in zip(unchanged, found, strict=True)
            if stored is not None
            and stored.bundle_version == version
            and stored.history_timestamp == history.events[-1].timestamp
        }


def _earlier(act: Act) -> UserHistory:
    """Return the history before the act's moment.

    So a basket says nothing about itself, and the size of a batch does not matter.
    """
    moment = act.event.timestamp
    events = tuple(event for event in act.history.events if event.timestamp < moment)
    return UserHistory(act.history.user_id, events)
