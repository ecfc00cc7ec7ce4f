"""What the ranker learns from: candidates as the service would have found them, and what came.

The sources know only the past of a split, and the labels are of its future, so that no source has
seen what it is to find. Features come from `serving.ranking.features`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl
import structlog
from scipy import sparse

from feature_repo.event_weights import UNNAMED_WEIGHT
from serving.ranking.feature_names import feature_names
from serving.source_names import SOURCES
from trainer.interactions import Interactions
from trainer.ranking.opinions import Opinions
from trainer.ranking.past_shop import PastShop
from trainer.ranking.settings import RankerSettings

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

MOST_NEGATIVES = 2_000_000
"""Of one slice: their features take half a gigabyte, and as much again while they are joined."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Candidates of many requests.

    features: float32 [n, num_features]. labels: float32 [n] in 0..1, what the user did with the
    item in the future, by its event type's weight over the largest. weights: float32 [n], of its
    request, times how many candidates it stands for. sizes: int64 [num_requests], candidates of
    each, in order. opinions: what the fusion, which needs no ranker, orders them by; None where the
    two-tower says nothing.
    """

    features: Floats
    labels: Floats
    weights: Floats
    sizes: Indices
    opinions: Opinions | None = None

    @property
    def num_requests(self) -> int:
        """How many requests there are candidates of."""
        return len(self.sizes)

    @property
    def requests(self) -> Indices:
        """The request of each candidate, int64 [n], ascending."""
        return np.repeat(np.arange(self.num_requests), self.sizes)

    def of(self, requests: Indices) -> "Examples":
        """Return all candidates of these requests."""
        return self.at(np.flatnonzero(np.isin(self.requests, requests)))

    def at(self, rows: Indices) -> "Examples":
        """Return the candidates in these rows, ascending; requests without any are left out."""
        requests, sizes = np.unique(self.requests[rows], return_counts=True)
        return Examples(
            self.features[rows],
            self.labels[rows],
            self.weights[rows],
            sizes,
            self.opinions and self.opinions.at(rows, requests),
        )

    @classmethod
    def joined(cls, parts: Sequence["Examples"]) -> "Examples":
        """Return the examples of all parts, with opinions where all of them have some."""
        width = len(feature_names(SOURCES))
        opinions = [part.opinions for part in parts if part.opinions is not None]
        return cls(
            np.concatenate([np.empty((0, width), np.float32), *(part.features for part in parts)]),
            np.concatenate([np.empty(0, np.float32), *(part.labels for part in parts)]),
            np.concatenate([np.empty(0, np.float32), *(part.weights for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.sizes for part in parts)]),
            Opinions.joined(opinions) if opinions and len(opinions) == len(parts) else None,
        )


def future_labels(
    past: Interactions, future: pl.DataFrame, settings: RankerSettings
) -> sparse.csr_array:
    """Return float32 [num_users, num_items] in 0..1 of what known users did in `future`.

    What weighs 0 is stored no more than what nobody did.
    """
    weights = settings.event_type_weights
    most = max([UNNAMED_WEIGHT, *weights.values()])
    users = {user_id: row for row, user_id in enumerate(past.user_ids)}
    items = {item.item_id: row for row, item in enumerate(past.items)}
    best: dict[tuple[int, int], float] = {}
    for user_id, item_id, event_type in (
        future.select("user_id", "item_id", "event_type").unique().iter_rows()
    ):
        if user_id in users and item_id in items:
            pair = users[user_id], items[item_id]
            best[pair] = max(best.get(pair, 0.0), weights.get(event_type, UNNAMED_WEIGHT) / most)
    pairs = np.array(list(best), dtype=np.int64).reshape(-1, 2)
    values = np.array(list(best.values()), dtype=np.float32)
    shape = (len(past.user_ids), len(past.items))
    labels = sparse.csr_array((values, (pairs[:, 0], pairs[:, 1])), shape=shape)
    labels.eliminate_zeros()
    return labels


def requests_of(
    shop: PastShop,
    labels: sparse.csr_array,
    users: npt.NDArray[np.int64],
    queries: Floats | None,
    random: np.random.Generator,
    hiding: float = 0.0,
) -> Iterator[Examples]:
    """Ask the shop for candidates for each user, label them, and yield all those of each request.

    queries: float32 [num_users, dimension] of all users of the shop; None asks without.
    hiding: the share of users, drawn at random, who ask with `exclude_seen`. Those of them who did
    nothing new ask without.

    A request of which no candidate was acted on tells nothing, and is left out. The others weigh
    the square root of how many were: who buys much shall count for more, but not in proportion.
    """
    hides = random.random(len(users)) < hiding
    for user, is_hiding in zip(users.tolist(), hides.tolist(), strict=True):
        wanted = np.zeros(shop.num_items, dtype=np.float32)
        row = slice(labels.indptr[user], labels.indptr[user + 1])
        wanted[labels.indices[row]] = labels.data[row]
        hidden = shop.seen(user) if is_hiding else None
        if hidden is not None and np.count_nonzero(wanted) == np.count_nonzero(wanted[hidden]):
            hidden = None
        context = shop.context(user, None if queries is None else queries[user], hidden)
        pool = shop.stage.pool(context)
        found = wanted[pool.rows]
        if not (positives := np.count_nonzero(found)):
            continue
        features = shop.stage.features(pool, SOURCES, context)
        weights = np.full(len(found), np.sqrt(positives), dtype=np.float32)
        opinions = None if queries is None else Opinions.of_pool(shop.stage, pool)
        yield Examples(features, found, weights, np.array([len(found)]), opinions)


def examples_of(
    requests: Iterable[Examples], negatives: int, num_users: int, random: np.random.Generator
) -> Examples:
    """Return the examples that are learned from of `requests`, as `requests_of` yields them.

    negatives: of candidates that were not acted on, at most so many a request are kept; 0 keeps
    as many as `MOST_NEGATIVES` allows of all, were there a request of each of `num_users`. The kept
    ones weigh as much as all would.
    """
    allowed = max(1, MOST_NEGATIVES // max(1, num_users))
    most = min(negatives or allowed, allowed)
    most_found = 0
    parts = []
    for request in requests:
        most_found = max(most_found, int(np.count_nonzero(request.labels == 0)))
        parts.append(_thinned(request, most, random))
    if most < min(negatives or most_found, most_found):
        structlog.get_logger(__name__).info(
            "negatives_sampled", requests=num_users, of_each=most, most_found=most_found
        )
    return Examples.joined(parts)


def _thinned(request: Examples, most: int, random: np.random.Generator) -> Examples:
    """Return the examples of one request with at most so many negatives, drawn at random."""
    others = np.flatnonzero(request.labels == 0)
    if len(others) <= most:
        return request
    drawn = random.choice(others, most, replace=False)
    weights = request.weights.copy()
    weights[drawn] *= len(others) / most
    rows = np.sort(np.concatenate([np.flatnonzero(request.labels), drawn]))
    return replace(request, weights=weights).at(rows)
