"""Trained models as scorers: the two-tower alone, and the list that the service makes."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from serving.ranking.bundle_files import RankingData
from trainer.baselines import EmbeddingScorer
from trainer.import_keras import keras
from trainer.interactions import Interactions
from trainer.ranking.past_shop import PastShop, ranking_of
from trainer.ranking.pipeline_scorer import PipelineScorer
from trainer.ranking.ranker import as_ranker
from trainer.ranking.service_settings import ServiceSettings
from trainer.tasks import Split
from trainer.trained_model import TrainedModel

TWO_TOWER = "two-tower"

Embeddings = npt.NDArray[np.float32]


def two_tower_scorer(model: TrainedModel, histories: Interactions | None = None) -> EmbeddingScorer:
    """Return the model as a scorer for `histories`, by default those that it was trained on.

    Raises:
        ValueError: `histories` have other event types or items than the model.
    """
    if histories is not None:
        known = model.interactions
        if histories.event_types != known.event_types or len(histories.items) != len(known.items):
            raise ValueError(
                "`histories` must have the model's event types and items. Received: "
                f"{list(histories.event_types)} and {len(histories.items)} items, "
                f"not {list(known.event_types)} and {len(known.items)}."
            )
        model = replace(model, interactions=histories)
    candidates = model.candidate_embeddings()
    users = np.arange(len(model.interactions.user_ids))
    return EmbeddingScorer(TWO_TOWER, model.query_embeddings(users, candidates), candidates)


def pipeline_scorer(
    name: str,
    split: Split,
    data: RankingData | None,
    ranker: keras.Model | None,
    queries: Embeddings,
    candidates: Embeddings,
    service: ServiceSettings,
) -> PipelineScorer:
    """Return a scorer that makes lists as the service would, for the users of the split.

    queries: float32 [num_users, dimension]; candidates: float32 [num_items, dimension].
    """
    function = None if ranker is None else as_ranker(ranker)
    shop = PastShop(
        split.histories,
        (lambda rows: None) if data is None else ranking_of(data, function),
        candidates,
        service,
        moments=split.moments,
    )
    return PipelineScorer(name, shop, lambda users: queries[users])
