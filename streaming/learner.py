"""What the new events of a batch teach about items, from the state before the batch.

The edge of `feature_repo.co_visitation` and `streaming.fold_in`: it looks up what they add to.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

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
from streaming.settings import StreamingSettings
from streaming.stream_state import StreamState
from streaming.updates import Updates

Vector = npt.NDArray[np.float32]


class Learner:
    """Says what acts teach of items.

    An encoder that fails holds nothing up: the events of the batch then move no embedding.
    """

    def __init__(
        self,
        state: StreamState,
        encoder: Callable[[], Encoder | None],
        space: Callable[[], CandidateSpace | None],
        settings: StreamingSettings,
        metrics: StreamMetrics,
    ) -> None:
        self._state = state
        self._encoder = encoder
        self._space = space
        self._settings = settings
        self._metrics = metrics
        self._logger = structlog.get_logger(__name__)

    def learn(self, partition: int, folded: Folded) -> Updates:
        """Return the sums of the items that a batch touched, with what its acts add to them.

        An item that is new or has changed counts as touched, so that its new embedding is moved
        like the one before.
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
        encoder, space = self._encoder(), self._space()
        if encoder is None or space is None or encoder.bundle_version != space.bundle_version:
            return {}
        sums: dict[str, FoldIn] = {}

        def sums_of(item_id: str) -> FoldIn:
            own = sums.get(item_id) or known.get(item_id)
            if own is not None and own.bundle_version == space.bundle_version:
                return own
            return fold_in.nothing(item_id, space.bundle_version, space.num_tastes)

        # Of a deleted one too: what is kept must not depend on the batch that a record is in.
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
        """Return the unit taste of each history that says anything.

        Encoded here, though some are in the online store: that one may be of another moment,
        and a replay would not find it.
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
    """Return the history before the act's moment.

    So a basket says nothing about itself, and the size of a batch does not matter.
    """
    moment = act.event.timestamp
    events = tuple(event for event in act.history.events if event.timestamp < moment)
    return UserHistory(act.history.user_id, events)
