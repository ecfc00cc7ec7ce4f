"""Embeds users without an embedding of the current bundle, in between the batches of the stream.

After an import, and after every swap of the bundle, these are all users. Until then a request
encodes its user's history itself, with the same result, only slower.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import structlog

from feature_repo.history import UserHistory
from feature_repo.online_features import OnlineFeatures, UserEmbedding
from streaming.metrics import StreamMetrics
from streaming.publisher import Publisher
from streaming.served_model import ServedModel
from streaming.stream_state import IMPORTED, OpenState

PAGE = 64
"""How many users a step embeds: events that come meanwhile wait for it."""


class UserReencoder:
    """Goes through all users once for every bundle.

    Several workers may do so at once, and beside the stream. So the histories are compared with the
    state afterwards, and embedded again where they differ: the last write is the newest.

    Args:
        pause_seconds: how long it rests after an error; what it does is never urgent.
    """

    def __init__(
        self,
        state: OpenState,
        online: OnlineFeatures,
        model: ServedModel,
        publisher: Publisher,
        metrics: StreamMetrics,
        pause_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._online = online
        self._model = model
        self._publisher = publisher
        self._metrics = metrics
        self._pause = pause_seconds
        self._clock = clock
        self._bundle: str | None = None
        self._left: Iterator[list[UserHistory]] | None = None
        self._not_before = 0.0
        self._logger = structlog.get_logger(__name__)

    def step(self) -> bool:
        """Embed a page of users; return whether any may be left. Logs what a store raises."""
        encoder = self._model.encoder
        if encoder is None or self._clock() < self._not_before:
            return False
        if encoder.bundle_version != self._bundle:
            self._bundle = encoder.bundle_version
            self._left = self._state.all_histories(PAGE)
            self._metrics.reencoding.set(1)
        if self._left is None:
            return False
        try:
            page = next(self._left, None)
            if page is None:
                self._left = None
                self._metrics.reencoding.set(0)
                return False
            with self._metrics.stage("re-encode"):
                self._embed(self._outdated(page))
        except Exception as error:  # noqa: BLE001 — stores raise what they like
            self._logger.warning("reencoding_interrupted", error=str(error), retry_in=self._pause)
            # Start over: users who have an embedding by now are skipped quickly.
            self._bundle = None
            self._not_before = self._clock() + self._pause
        return True

    def _outdated(self, histories: Sequence[UserHistory]) -> list[UserHistory]:
        stored = self._online.get(UserEmbedding, [history.user_id for history in histories])
        return [
            history
            for history, embedding in zip(histories, stored, strict=True)
            if embedding is None
            or embedding.bundle_version != self._bundle
            or embedding.history_timestamp != history.events[-1].timestamp
            or (embedding.left_out and self._model.has_embeddings(embedding.left_out).any())
        ]

    def _embed(self, histories: Sequence[UserHistory]) -> None:
        while histories:
            self._publisher.publish_user_embeddings(histories)
            self._metrics.reencoded.inc(len(histories))
            histories = self._changed(histories)

    def _changed(self, histories: Sequence[UserHistory]) -> list[UserHistory]:
        """Return, as they are in the state now, those of the histories that have changed."""
        user_ids = [history.user_id for history in histories]
        now = self._state.load(IMPORTED, user_ids, ()).histories
        newest = [now.get(user_id, UserHistory(user_id)) for user_id in user_ids]
        return [after for before, after in zip(histories, newest, strict=True) if after != before]
