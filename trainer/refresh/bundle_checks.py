"""What only an exported bundle can show: whether its index finds, and how fast it answers."""

import time
from pathlib import Path

import numpy as np

from serving.bundle_loading import load_bundle
from serving.item_rows import ItemRows
from serving.live_model import LiveModel
from serving.recall_monitor import index_recall
from serving.settings import ServingSettings
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.bundle_scorer import BundleScorer
from trainer.interactions import Interactions
from trainer.refresh.notes import BundleChecks

USERS = 200
"""At most so many users' queries are asked of the index."""

TIMES = 20
"""How often one query is encoded, to take the median."""


def check_bundle(
    path: Path, histories: Interactions, settings: ServingSettings, text_cache: TextEmbeddingCache
) -> BundleChecks:
    """Load the bundle as a server would, and ask it for some of the users in `histories`.

    Raises `BundleError` where a server would refuse it.
    """
    bundle = load_bundle(path)
    model = LiveModel.create(bundle, ItemRows(), settings, text_cache)
    scorer = BundleScorer(bundle, histories, text_cache)
    users = np.arange(min(USERS, len(histories.user_ids)))
    queries = scorer.queries(users)
    if not len(queries) or not len(model.table):
        return BundleChecks(1.0, 0.0)
    seconds = []
    for user in np.resize(users, TIMES):
        start = time.perf_counter()
        scorer.queries(np.array([user]))
        seconds.append(time.perf_counter() - start)
    return BundleChecks(index_recall(model, queries), float(np.median(seconds)) * 1e3)
