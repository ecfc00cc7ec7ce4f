"""Everything that belongs to one vector space, swapped as one."""

import threading
from collections import deque
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from feature_repo.history import UserHistory
from serving.bundle import Bundle
from serving.candidate_index import CandidateIndex
from serving.candidate_space import CandidateSpace
from serving.encoder import Encoder
from serving.exact_index import ExactIndex
from serving.item_rows import ItemRows, Rows
from serving.micro_batching import MicroBatcher
from serving.prediction.served_signature import ServedSignature
from serving.ranking.bundle_files import read_ranking
from serving.ranking.live_ranking import LiveRanking
from serving.saved_model_encoder import SavedModelEncoder
from serving.settings import BatchingSettings, ServingSettings
from serving.signatures import OPTIONAL_SIGNATURES, SIGNATURES
from serving.text_embedding_cache import TextEmbeddingCache
from serving.waiting_embeddings import WaitingEmbeddings

RECENT_QUERIES = 64


class LiveModel:
    """A bundle's encoder and the index of its candidates, kept up to date while it serves.

    space: the scale of its candidates. table: every candidate embedding by row number. index:
    what is searched and changed; the table itself below `exact_below` items, ScaNN over it above.
    recent_queries: float32 [dimension] each, the last query embeddings that the index was searched
    for; its recall is measured on them. ranking: what the bundle has to rank by, or None.
    signatures: those of the SavedModel, by name.
    """

    def __init__(
        self,
        space: CandidateSpace,
        encoder: Encoder,
        table: ExactIndex,
        index: CandidateIndex,
        *,
        ranking: LiveRanking | None = None,
        signatures: Mapping[str, ServedSignature] | None = None,
        batching: BatchingSettings | None = None,
    ) -> None:
        self.space = space
        self.encoder = encoder
        self.table = table
        self.index = index
        self.ranking = ranking
        self.recent_queries: deque[npt.NDArray[np.float32]] = deque(maxlen=RECENT_QUERIES)
        self.signatures = dict(signatures or {})
        # One place more, behind the last row: that of all items that came after the bundle.
        self._trained_events = np.zeros(len(table.rows) + 1, dtype=np.int64)
        self._trained_events[table.rows.rows_of(space.counts)] = list(space.counts.values())
        self._trained_events[-1] = 0
        self._encode_query: MicroBatcher[UserHistory, npt.NDArray[np.float32]] = MicroBatcher(
            lambda histories: list(encoder.encode_queries(histories)),
            batching or BatchingSettings(),
        )

    @property
    def bundle_version(self) -> str:
        """The bundle that the model was made of."""
        return self.space.bundle_version

    @classmethod
    def create(
        cls,
        bundle: Bundle,
        rows: ItemRows,
        settings: ServingSettings | None = None,
        text_cache: TextEmbeddingCache | None = None,
    ) -> "LiveModel":
        """Build the index of `bundle` and warm its encoder: seconds at 100,000 items."""
        settings = settings or ServingSettings()
        table = ExactIndex(bundle.manifest.dimension, rows)
        table.upsert(bundle.candidate_ids, bundle.candidate_embeddings)
        index: CandidateIndex = table
        if len(table) >= settings.exact_below:
            from serving.scann_index import ScannIndex  # Small shops need no ScaNN.

            index = ScannIndex(table)
        encoder = SavedModelEncoder(bundle, table.embeddings_of, text_cache or TextEmbeddingCache())
        encoder.warm_up()
        signatures = {
            name: ServedSignature(
                bundle.signatures[name], settings.batching, settings.tensorflow_serving.max_rows
            )
            for name in (*SIGNATURES, *OPTIONAL_SIGNATURES)
            if name in bundle.signatures
        }
        for signature in signatures.values():
            signature.warm_up()
        return cls(
            CandidateSpace.of(bundle),
            encoder,
            table,
            index,
            ranking=read_ranking(bundle, rows),
            signatures=signatures,
            batching=settings.batching,
        )

    def encode_query(self, history: UserHistory) -> npt.NDArray[np.float32]:
        """Return a query embedding, float32 [dimension]; concurrent callers share an encode."""
        return self._encode_query(history)

    def trained_events_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Return int64 [n], how many events training saw of each row: 0 for later items."""
        return self._trained_events[np.minimum(rows, len(self._trained_events) - 1)]

    def knows_any(self, item_ids: Iterable[str]) -> bool:
        """Return whether any of the items has an embedding."""
        return bool(self.table.has_embeddings(item_ids).any())


class ModelHolder:
    """The model that serves. A request takes it once, so that its list is of one model.

    `changing` is held by whoever changes items or swaps the model, so that no change is lost by
    being applied to a model that is just being replaced. It also guards `waiting`: embeddings that
    came for other models than the one that serves.
    """

    def __init__(self, model: LiveModel) -> None:
        self._model = model
        self.changing = threading.RLock()
        self.waiting = WaitingEmbeddings()

    @property
    def current(self) -> LiveModel:
        """The model that serves now."""
        return self._model

    def swap(self, model: LiveModel) -> None:
        """Serve `model` from the next request on."""
        self._model = model
