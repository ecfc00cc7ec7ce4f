"""The simple recommenders that every evaluation prints beside the model."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from trainer.interactions import Interactions
from trainer.windows import DAY

Scores = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

RECENT_DAYS = 14


class Scorer(Protocol):
    """Anything that gives every item of a split's catalogue a score for each of its users."""

    @property
    def name(self) -> str:
        """What the tables call it."""
        ...

    def score(self, users: Indices) -> Scores:
        """Return float32 [len(users), num_items] for indices into `Split.histories.user_ids`.

        The array is the caller's to write into.
        """
        ...


class Popularity:
    """How many users acted on an item, within the last `days` if given."""

    def __init__(self, past: Interactions, days: float | None = None) -> None:
        self.name = "popularity" if days is None else f"popularity, last {days:g} days"
        matrix = _user_item(past, days)
        self._scores = np.asarray(matrix.sum(axis=0), dtype=np.float32).ravel()

    def score(self, users: Indices) -> Scores:
        """Return the same scores for every user."""
        return np.tile(self._scores, (len(users), 1))


class ItemKnn:
    """Sum over the user's items of their cosine with each item (Sarwar et al., WWW 2001).

    An item's cosine with itself counts: who bought it once may buy it again. The cosines are
    those of `past`, the users' items those of `histories` (default: the past's).
    """

    name = "item-kNN, cosine"

    def __init__(self, past: Interactions, histories: Interactions | None = None) -> None:
        # In float64, so that rounding neither makes ties nor breaks them.
        self._user_item = _user_item(histories or past).astype(np.float64)
        learned = _user_item(past).astype(np.float64)
        counts = np.asarray(learned.sum(axis=0)).ravel()
        scale = sparse.diags_array(1 / np.sqrt(np.maximum(counts, 1)))
        normalised = learned @ scale
        self._similarity = normalised.T @ normalised

    def score(self, users: Indices) -> Scores:
        """Return the users' rows times the similarities."""
        scores: Scores = (self._user_item[users] @ self._similarity).toarray().astype(np.float32)
        return scores


class EmbeddingScorer:
    """Dot products of query and candidate embeddings: what a two-tower model retrieves by.

    query_embeddings: float32 [num_users, dimension]; candidate_embeddings: float32 [num_items,
    dimension], rows in the order of the split's users and catalogue.
    """

    def __init__(self, name: str, query_embeddings: Scores, candidate_embeddings: Scores) -> None:
        self.name = name
        self._queries = query_embeddings
        self._candidates = candidate_embeddings

    def score(self, users: Indices) -> Scores:
        """Return the users' dot products with all candidates."""
        return self._queries[users] @ self._candidates.T


def baselines(past: Interactions, histories: Interactions | None = None) -> Sequence[Scorer]:
    """Return popularity, recent popularity and item-kNN, learned from `past`.

    histories: what is known of the users when they are asked about; default: the past.
    """
    return (Popularity(past), Popularity(past, RECENT_DAYS), ItemKnn(past, histories))


def _user_item(past: Interactions, days: float | None = None) -> sparse.csr_array:
    """Return float32 [num_users, num_items], 1 where the user acted on the item."""
    recent = np.ones(len(past.item), dtype=bool)
    if days is not None and len(past.timestamp):
        recent = past.timestamp > past.timestamp.max() - days * DAY
    ones = np.ones(int(recent.sum()), dtype=np.float32)
    shape = (len(past.user_ids), len(past.items))
    matrix = sparse.csr_array((ones, (past.user[recent], past.item[recent])), shape=shape)
    matrix.data[:] = 1.0
    return matrix
