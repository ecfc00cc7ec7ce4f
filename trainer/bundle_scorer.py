"""A published bundle as a scorer, so that a model that serves can be judged by later events."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog

from feature_repo.history import HistoryEvent, UserHistory
from serving.bundle import Bundle, BundleError
from serving.bundle_loading import load_bundle
from serving.item_rows import ItemRows
from serving.ranking.bundle_files import read_ranking
from serving.ranking.live_ranking import LiveRanking
from serving.saved_model_encoder import SavedModelEncoder
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.comparison import CURRENT, Current
from trainer.interactions import Interactions
from trainer.ranking.past_shop import PastShop
from trainer.ranking.pipeline_scorer import PipelineScorer
from trainer.ranking.service_settings import ServiceSettings
from trainer.tasks import Split

Embeddings = npt.NDArray[np.float32]


class BundleScorer:
    """Dot products of the bundle's query embeddings with its candidates.

    Args:
        bundle: the model.
        histories: the users who are asked about, and the catalogue that is ranked. An item
            that is not in the bundle is embedded as the live service would embed it.
        text_cache: where the embeddings of such items' texts are kept.
        name: what tables call it.
    """

    def __init__(
        self,
        bundle: Bundle,
        histories: Interactions,
        text_cache: TextEmbeddingCache,
        name: str = "bundle",
    ) -> None:
        self.name = name
        self.encoder = SavedModelEncoder(bundle, self._embeddings_of, text_cache)
        self._histories = histories
        self._max_history = bundle.manifest.max_history
        self._row = {item.item_id: row for row, item in enumerate(histories.items)}
        self._candidates = np.zeros((len(self._row), bundle.manifest.dimension), np.float32)
        bundled = {item_id: row for row, item_id in enumerate(bundle.candidate_ids)}
        missing = []
        for item_id, row in self._row.items():
            if item_id in bundled:
                self._candidates[row] = bundle.candidate_embeddings[bundled[item_id]]
            else:
                missing.append(row)
        if missing:
            items = [histories.items[row] for row in missing]
            self._candidates[missing] = self.encoder.encode_candidates(items, histories.end)

    def score(self, users: npt.NDArray[np.int64]) -> Embeddings:
        """Encode the users' histories; return float32 [len(users), num_items]."""
        return self.queries(users) @ self._candidates.T

    @property
    def candidates(self) -> Embeddings:
        """The candidate embeddings of the histories' items, float32 [num_items, dimension]."""
        return self._candidates

    def queries(self, users: npt.NDArray[np.int64]) -> Embeddings:
        """Return the query embeddings, float32 [len(users), dimension], of the histories."""
        return self.encoder.encode_queries([self._history(int(user)) for user in users])

    def _embeddings_of(self, item_ids: Iterable[str]) -> tuple[Embeddings, npt.NDArray[np.bool_]]:
        rows = np.array([self._row.get(item_id, -1) for item_id in item_ids], dtype=np.int64)
        return self._candidates[rows], rows >= 0

    def _history(self, user: int) -> UserHistory:
        columns = self._histories
        start, end = columns.first_event[user : user + 2]
        events = tuple(
            HistoryEvent(
                timestamp=int(columns.timestamp[event]),
                event_id=str(event),
                item_id=columns.items[columns.item[event]].item_id,
                event_type=columns.event_types[columns.event_type[event]],
                value=0.0,
            )
            for event in range(max(start, end - self._max_history), end)
        )
        return UserHistory(columns.user_ids[user], events)


def load_to_ask(path: Path) -> Bundle:
    """Return the bundle in folder `path`, having checked that it can make lists.

    A bundle of an earlier release may be undamaged, yet rank by features that no longer exist.
    Raises `BundleError` naming the file and the reason.
    """
    bundle = load_bundle(path)
    read_ranking(bundle, ItemRows(bundle.candidate_ids))
    return bundle


def bundle_pipeline(
    name: str,
    bundle: Bundle,
    split: Split,
    text_cache: TextEmbeddingCache,
    service: ServiceSettings,
) -> PipelineScorer:
    """Return the lists that `bundle` would serve to the users of the split, as a scorer."""
    scorer = BundleScorer(bundle, split.histories, text_cache, name)

    def ranking_over(rows: ItemRows) -> LiveRanking | None:
        # Its tables name all of its candidates, also those that are not asked for.
        rows.add(bundle.candidate_ids)
        return read_ranking(bundle, rows)

    shop = PastShop(
        split.histories,
        ranking_over,
        scorer.candidates,
        service,
        moments=split.moments,
    )
    return PipelineScorer(name, shop, scorer.queries)


def current_scorer(
    path: Path, text_cache: TextEmbeddingCache, service: ServiceSettings
) -> Current | None:
    """Return the bundle that serves, whose folder is `path`.

    None where it cannot make lists any more: there is nothing to compare with then.
    """
    try:
        bundle = load_to_ask(path)
    except BundleError as error:
        structlog.get_logger(__name__).warning("current_bundle_not_compared", reason=str(error))
        return None
    return Current(
        lambda split: bundle_pipeline(CURRENT, bundle, split, text_cache, service),
        bundle.manifest.data_window.end,
    )
