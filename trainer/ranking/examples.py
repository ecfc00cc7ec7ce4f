"""What the ranker learns from: candidates as the service would have found them, and what came.

The sources know only the past of a split, and the labels are of its future, so that no source has
seen what it is to find. Features come from `serving.ranking.features`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl
import structlog
from scipy import sparse

from serving.ranking.feature_names import feature_names
from serving.source_names import SOURCES
from trainer.interactions import Interactions
from trainer.ranking.objectives import ANY, objective_of
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

    features: float32 [n, num_features]. labels: float32 [n, num_objectives], 1 where the user did
    what is an objective with the item in the future, else 0. weights: float32 [n], of its
    request, times how many candidates it stands for. sizes: int64 [num_requests], candidates of
    each, in order. opinions: what the fusion, which needs no ranker, orders them by; None where the
    two-tower says nothing. objectives: what each of them is worth, as `objectives_of`.
    """

    features: Floats
    labels: Floats
    weights: Floats
    sizes: Indices
    opinions: Opinions | None = None
    objectives: Mapping[str, float] = field(default_factory=lambda: ANY)

    @property
    def worth(self) -> Floats:
        """What the user did with each is worth, by the dearest objective of it: float32 [n]."""
        worths = np.array([*self.objectives.values()], np.float32)
        best: Floats = (self.labels * worths).max(axis=1)
        return best

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
            self.objectives,
        )

    @classmethod
    def joined(cls, parts: Sequence["Examples"]) -> "Examples":
        """Return the examples of all parts, with opinions where all of them have some.

        Parts without any, of which nothing is known, do not matter; the others are of the same
        objectives.
        """
        parts = [part for part in parts if part.num_requests]
        if not parts:
            none = np.empty((0, len(feature_names(SOURCES))), np.float32)
            return cls(none, none[:, :1], none[:, 0], np.empty(0, np.int64))
        opinions = [part.opinions for part in parts if part.opinions is not None]
        return cls(
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.weights for part in parts]),
            np.concatenate([part.sizes for part in parts]),
            Opinions.joined(opinions) if len(opinions) == len(parts) else None,
            parts[0].objectives,
        )


def future_labels(
    past: Interactions,
    future: pl.DataFrame,
    settings: RankerSettings,
    objectives: Mapping[str, float],
) -> sparse.csr_array:
    """Return what known users did in `future`: of each user 1 for an item and an objective.

    Float32 [num_users, num_items * num_objectives], an item's objectives beside each other.
    """
    weights = settings.event_type_weights
    columns = {objective: column for column, objective in enumerate(objectives)}
    users = {user_id: row for row, user_id in enumerate(past.user_ids)}
    items = {item.item_id: row for row, item in enumerate(past.items)}
    found = {
        (users[user_id], items[item_id] * len(columns) + column)
        for user_id, item_id, event_type in (
            future.select("user_id", "item_id", "event_type").unique().iter_rows()
        )
        if user_id in users and item_id in items
        if (column := columns.get(objective_of(event_type, weights))) is not None
    }
    cells = np.array(sorted(found), dtype=np.int64).reshape(-1, 2)
    shape = (len(past.user_ids), len(past.items) * len(columns))
    ones = np.ones(len(cells), np.float32)
    return sparse.csr_array((ones, (cells[:, 0], cells[:, 1])), shape=shape)


def requests_of(
    shop: PastShop,
    labels: sparse.csr_array,
    users: npt.NDArray[np.int64],
    queries: Floats | None,
    random: np.random.Generator,
    hiding: float = 0.0,
    objectives: Mapping[str, float] = ANY,
) -> Iterator[Examples]:
    """Ask the shop for candidates for each user, label them, and yield all those of each request.

    labels: as `future_labels` of the same objectives. queries: float32 [num_users, dimension] of
    all users of the shop; None asks without. hiding: the share of users, drawn at random, who ask
    with `exclude_seen`. Those of them who did nothing new ask without.

    A request of which no candidate was acted on tells nothing, and is left out. The others weigh
    the square root of how many were: who buys much shall count for more, but not in proportion.
    """
    hides = random.random(len(users)) < hiding
    for user, is_hiding in zip(users.tolist(), hides.tolist(), strict=True):
        wanted = np.zeros((shop.num_items, len(objectives)), dtype=np.float32)
        wanted.flat[labels.indices[slice(*labels.indptr[user : user + 2])]] = 1
        hidden = shop.seen(user) if is_hiding else None
        if hidden is not None and np.count_nonzero(wanted) == np.count_nonzero(wanted[hidden]):
            hidden = None
        context = shop.context(user, None if queries is None else queries[user], hidden)
        pool = shop.stage.pool(context)
        found = wanted[pool.rows]
        if not (positives := np.count_nonzero(found.any(axis=1))):
            continue
        features = shop.stage.features(pool, SOURCES, context)
        weights = np.full(len(found), np.sqrt(positives), dtype=np.float32)
        opinions = None if queries is None else Opinions.of_pool(shop.stage, pool)
        yield Examples(features, found, weights, np.array([len(found)]), opinions, objectives)


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
        most_found = max(most_found, int(np.count_nonzero(request.worth == 0)))
        parts.append(_thinned(request, most, random))
    if most < min(negatives or most_found, most_found):
        structlog.get_logger(__name__).info(
            "negatives_sampled", requests=num_users, of_each=most, most_found=most_found
        )
    return Examples.joined(parts)


def _thinned(request: Examples, most: int, random: np.random.Generator) -> Examples:
    """Return the examples of one request with at most so many negatives, drawn at random."""
    others = np.flatnonzero(request.worth == 0)
    if len(others) <= most:
        return request
    drawn = random.choice(others, most, replace=False)
    weights = request.weights.copy()
    weights[drawn] *= len(others) / most
    rows = np.sort(np.concatenate([np.flatnonzero(request.worth), drawn]))
    return replace(request, weights=weights).at(rows)
