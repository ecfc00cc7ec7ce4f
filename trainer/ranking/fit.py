"""What a bundle ranks by, fitted on what happened before a moment."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import keras
import numpy as np
import numpy.typing as npt

from feature_repo.schema import Item
from serving.ranking.bundle_files import RankingData
from serving.ranking.settings import SOURCES
from serving.settings import ServingSettings
from trainer.interactions import Interactions
from trainer.ranking.examples import Examples, examples_of, future_labels
from trainer.ranking.past_shop import PastShop, ranking_of
from trainer.ranking.ranker import train_ranker
from trainer.ranking.settings import RankerSettings
from trainer.ranking.tables import ease_table, item_signals, text_table, transitions_table
from trainer.tasks import Split

Floats = npt.NDArray[np.float32]
TextEmbeddingsOf = Callable[[Sequence[Item]], Floats]
"""From items to the embeddings of their texts, float32 [len(items), n]."""


@dataclass(frozen=True, slots=True, eq=False)
class Newest:
    """What is known of the newest split, whose future the two-tower has not seen.

    queries: float32 [num_users, dimension], candidates: float32 [num_items, dimension], the
    two-tower's, of the past's users and items. data: what `fit_tables` makes of the past. judged:
    users by whom the result is judged, and from whom nothing is learned.
    """

    queries: Floats
    candidates: Floats
    data: RankingData
    judged: Collection[str]


def fit_tables(
    past: Interactions, text_embeddings: Floats, settings: RankerSettings
) -> RankingData:
    """Return tables and signals of the past's items. text_embeddings: float32 [num_items, n]."""
    # Having no text is nothing that two items have in common.
    told = np.array([bool(item.text) for item in past.items])
    tables = {
        "ease": ease_table(past, settings),
        "text": text_table(text_embeddings * told[:, None], settings),
    }
    if settings.transition_distance:
        tables["transitions"] = transitions_table(past, settings)
    return RankingData(tables, item_signals(past))


def fit_ranker(
    splits: Iterable[Split],
    newest: Newest,
    text_embeddings_of: TextEmbeddingsOf,
    settings: RankerSettings,
    serving: ServingSettings,
    *,
    max_history: int,
    seed: int = 0,
) -> keras.Model | None:
    """Learn to rank from the first `slices` of the splits, the newest first.

    In each, tables, signals and statistics are of its past, and the labels of its future. Only
    in the newest does the two-tower, which is trained once, have a say: in the others it says 0
    of everything, as where it is switched off. Returns None where fewer than `min_users` requests
    tell anything.
    """
    every = serving.ranking.model_copy(update={"sources": SOURCES})
    serving = serving.model_copy(update={"ranking": every})
    random = np.random.default_rng(seed)
    parts: list[Examples] = []
    for number, split in enumerate(islice(splits, settings.slices)):
        past = split.past
        data = newest.data
        if number:
            data = fit_tables(past, text_embeddings_of(past.items), settings)
        shop = PastShop(
            past,
            ranking_of(data.tables, data.signals),
            newest.candidates if number == 0 else None,
            serving,
            max_history=max_history,
        )
        labels = future_labels(past, split.future, settings)
        users = np.flatnonzero(np.diff(labels.indptr))
        if number == 0:
            judged = [user_id in newest.judged for user_id in past.user_ids]
            users = users[~np.array(judged, dtype=np.bool_)[users]]
        if len(users) > settings.users_per_slice:
            users = random.choice(users, settings.users_per_slice, replace=False)
        queries = newest.queries if number == 0 else None
        parts.append(examples_of(shop, labels, users, queries, settings.negatives, random))
    examples = Examples.joined(parts)
    if examples.num_requests < settings.min_users:
        return None
    return train_ranker(examples, settings, seed)
