"""The features that candidates are ranked by: the same code makes them in training and serving.

No feature names an item or a user: what is learned is how to weigh, and holds for items and
users that come later.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from feature_repo.times import DAY, microseconds, minute_of
from serving.candidates import Scores
from serving.catalogue_columns import UNPUBLISHED
from serving.item_rows import Rows
from serving.ranking.feature_names import LOGARITHMIC, OF_A_SOURCE
from serving.signals.item_signals import (
    NO_SIGNALS,
    POPULARITY_DAYS,
    RHYTHMS,
    SIGNALS,
    on_the_circles,
)
from serving.sources.candidate_source import Context
from serving.sources.trending import TrendingSource


def ranking_features(
    rows: Rows,
    scores: Mapping[str, Scores],
    context: Context,
    trending: TrendingSource,
) -> npt.NDArray[np.float32]:
    """Return float32 [n, len(feature_names(scores))] of the candidates `rows`.

    scores: by source, what it says of every row, float32 [n].
    """
    signals = context.model.ranking.signals if context.model.ranking else NO_SIGNALS
    known = signals.of_rows(rows)
    moment = on_the_circles(np.int64(microseconds(minute_of(context.moment or context.at))))
    columns = (
        *of_sources(scores, len(rows)),
        *_of_items(rows, context, trending, known, moment),
        *moment,
        *_of_users(context),
        *_of_pairs(rows, context, known),
    )
    # Column by column in memory too, as they are made.
    features = np.empty((len(columns), len(rows)), dtype=np.float32)
    for row, column in zip(features, columns, strict=True):
        row[...] = column
    return features.T


def of_sources(scores: Mapping[str, Scores], num_rows: int) -> npt.NDArray[np.float32]:
    """Return float32 [len(scores) * len(OF_A_SOURCE), num_rows], one source after the other."""
    found = np.zeros((len(scores), len(OF_A_SOURCE), num_rows), dtype=np.float32)
    columns = found.reshape(len(scores) * len(OF_A_SOURCE), num_rows)
    if not num_rows:
        return columns
    said, relative, ranks = found[:, 0], found[:, 1], found[:, 2]
    for place, each in enumerate(scores.values()):
        said[place] = each
    low, high = said.min(axis=1, keepdims=True), said.max(axis=1, keepdims=True)
    ranks[...] = _logarithms_of_ranks(said)
    spread = high - low
    np.divide(said - low, spread, out=relative, where=spread != 0)
    for place, name in enumerate(scores):
        if name in LOGARITHMIC:
            said[place] -= high[place]
    return columns


def _logarithms_of_ranks(scores: Scores) -> npt.NDArray[np.float64]:
    """Return log(1 + rank) [k, n] among each row of scores [k, n], ties sharing the best."""
    order = np.argsort(-scores, axis=1)
    ordered = np.take_along_axis(scores, order, axis=1)
    ranks = np.tile(np.arange(scores.shape[1]), (len(scores), 1))
    ranks[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = 0
    np.maximum.accumulate(ranks, axis=1, out=ranks)
    logarithms = np.empty(scores.shape)
    np.put_along_axis(logarithms, order, np.log1p(np.arange(scores.shape[1]))[ranks], axis=1)
    return logarithms


def _of_items(
    rows: Rows,
    context: Context,
    trending: TrendingSource,
    known: npt.NDArray[np.float32],
    moment: npt.NDArray[np.float64],
) -> list[Scores]:
    worth = np.log1p(trending.worth(rows, context.minute))
    *popularity, repeat_share, repeat_days = known[:, : -len(RHYTHMS)].T
    fits = known[:, -len(RHYTHMS) :] * moment
    month, year = (popularity[POPULARITY_DAYS.index(days)] for days in (30, 365))
    prices = np.nan_to_num(context.view.prices[rows])
    return [
        *worth.T,
        *np.log1p(popularity),
        np.log((month + 1) / (year * (30 / 365) + 1)),
        repeat_share,
        np.log1p(repeat_days),
        np.log1p(context.days_since_publication(rows)),
        (context.view.published[rows] > UNPUBLISHED).astype(np.float32),
        np.log1p(prices),
        fits[:, :2].sum(axis=1),
        fits[:, 2:].sum(axis=1),
    ]


def _of_users(context: Context) -> tuple[float, ...]:
    acts = context.acts
    return (
        np.log1p(acts.num_events),
        np.log1p(len(acts)),
        np.log1p(len(acts) / max(acts.num_moments, 1)),
        np.count_nonzero(acts.visits > 1) / max(int(np.count_nonzero(acts.visits)), 1),
    )


def _of_pairs(rows: Rows, context: Context, known: npt.NDArray[np.float32]) -> list[Scores]:
    acts = context.acts
    places = acts.places_of(rows)
    acted = places >= 0
    times = np.zeros(len(rows))
    since, between = np.zeros(len(rows)), np.zeros(len(rows))
    taken, since_taken = np.zeros(len(rows), np.bool_), np.zeros(len(rows))
    if acted.any():
        mine = places[acted]
        times[acted] = acts.counts[mine]
        # From the newest event: how long the user has been away says nothing of an item.
        since[acted] = (acts.newest - acts.last[mine]) / DAY
        taken[acted] = acts.visits[mine] > 0
        since_taken[acted] = (acts.newest - acts.last_taken[mine]) / DAY
        spans = (acts.last_taken[mine] - acts.first_taken[mine]) / DAY
        between[acted] = spans / np.maximum(acts.visits[mine] - 1, 1)
    usual = known[:, SIGNALS.index("repeat_days")]
    due = np.where(taken & (usual > 0), np.log((since_taken + 1) / (usual + 1)), 0)
    taste, view = context.taste, context.view
    return [
        acted.astype(np.float32),
        np.log1p(times),
        np.log1p(since),
        np.log1p(between),
        due,
        taste.category_shares(view, rows),
        taste.brand_shares(view, rows),
        taste.price_differences(view, rows),
    ]
