"""Adds the new events of a batch to the co-visitation and fold-in sums of items.

The sums themselves are computed by `feature_repo.co_visitation` and `streaming.fold_in`. Here the
state before the batch is loaded, and the users are encoded.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import structlog

from feature_repo import co_visitation
from feature_repo.co_visitation import Pair
from feature_repo.co_visitation import pairs as pairs_of
from feature_repo.event_weights import UNNAMED_WEIGHT
from feature_repo.history import UserHistory
from serving.candidate_space import CandidateSpace
from serving.encoder import Encoder
from streaming import fold_in
from streaming.fold_in import FoldIn
from streaming.metrics import StreamMetrics
from streaming.processor import Act, Folded
from streaming.served_model import ServedModel
from streaming.settings import StreamingSettings
from streaming.stream_state import StreamState
from streaming.updates import Updates

Vector = npt.NDArray[np.float32]


class Learner:
    """Computes what a batch adds to co-visitation and fold-in.

    A failing encoder does not stop it: the events of the batch then move no embedding.
    """

    def __init__(
        self,
        state: StreamState,
        model: ServedModel,
        settings: StreamingSettings,
        metrics: StreamMetrics,
    ) -> None:
        self._state = state
        self._model = model
        self._settings = settings
        self._metrics = metrics
        self._logger = structlog.get_logger(__name__)

    def learn(self, partition: int, folded: Folded) -> Updates:
        """Return the sums of the items that a batch touched, with what its acts add to them.

        An item that is new or has changed counts as touched, so that its new embedding is moved
        like the one before. Raises `StateError`.
        """
        learned = Updates()
        acts, changed = folded.acts, folded.updates.items
        pairs = self._pairs(acts)
        if not pairs and not self._settings.fold_in.prior:
            return learned
        acted_on = {act.event.item_id for act in acts}
        known = self._state.load(partition, (), pairs.keys() | acted_on | changed.keys())
        settings = self._settings.co_visitation
        for item_id, made in pairs.items():
            before = known.co_visitation.get(item_id) or co_visitation.nothing(item_id)
            learned.co_visitation[item_id] = co_visitation.add(before, made, settings)
        if self._settings.fold_in.prior:
            learned.fold_in = self._fold_in(acts, changed, known.fold_in)
        return learned

    def _pairs(self, acts: Sequence[Act]) -> dict[str, list[Pair]]:
        by_item: dict[str, list[Pair]] = {}
        if self._settings.co_visitation.neighbours:
            for act in acts:
                for pair in pairs_of(act.history, act.event, self._settings.co_visitation):
                    by_item.setdefault(pair.item_id, []).append(pair)
        return by_item

    def _fold_in(
        self, acts: Sequence[Act], changed: Iterable[str], known: Mapping[str, FoldIn]
    ) -> dict[str, FoldIn]:
        encoder, space = self._model.encoder, self._model.space
        if encoder is None or space is None or encoder.bundle_version != space.bundle_version:
            return {}
        sums: dict[str, FoldIn] = {}

        def sums_of(item_id: str) -> FoldIn:
            own = sums.get(item_id) or known.get(item_id)
            if own is not None and own.bundle_version == space.bundle_version:
                return own
            return fold_in.nothing(item_id, space.bundle_version, space.num_tastes)

        # A deleted item's sums too: the state must not depend on how records fall into batches.
        for item_id in changed:
            sums[item_id] = sums_of(item_id)
        weights = self._settings.fold_in.event_type_weights
        earlier = [_earlier(act) for act in acts]
        tastes = self._tastes(encoder, space, earlier)
        for (_, event), history in zip(acts, earlier, strict=True):
            if history in tastes:
                weight = weights.get(event.event_type, UNNAMED_WEIGHT)
                own = sums_of(event.item_id)
                sums[event.item_id] = fold_in.add(own, tastes[history], weight, event.timestamp)
        return sums

    def _tastes(
        self, encoder: Encoder, space: CandidateSpace, earlier: Sequence[UserHistory]
    ) -> dict[UserHistory, Vector]:
        """Return the unit taste, float32 [num_tastes], of each history that is not empty.

        Encoded here, though the online store has some: a stored one may be of another moment, and
        a replay would not find the same.
        """
        histories = list({history: None for history in earlier if history.events})
        if not histories:
            return {}
        try:
            with self._metrics.stage("encode acts"):
                tastes = space.tastes(encoder.encode_queries(histories))
        except Exception as error:  # noqa: BLE001 - as in `Publisher`: the stream goes on
            self._metrics.failed_encodings.inc(len(histories))
            self._logger.error("encoder_failed", what="acts", reason=str(error))
            return {}
        pairs = zip(histories, tastes, strict=True)
        return {history: taste for history, taste in pairs if np.isfinite(taste).all()}


def _earlier(act: Act) -> UserHistory:
    """Return the user's events of before the act's timestamp.

    So the events of one basket do not count for each other, and the size of a batch does not
    matter.
    """
    moment = act.event.timestamp
    events = tuple(event for event in act.history.events if event.timestamp < moment)
    return UserHistory(act.history.user_id, events)
