"""The features that candidates are ranked by: the same code makes them in training and serving.

No feature names an item or a user: what is learned is how to weigh, and holds for items and
users that come later.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from feature_repo.schema import microseconds
from serving.candidates import Scores
from serving.catalogue import UNPUBLISHED
from serving.item_rows import Rows
from serving.ranking.feature_names import LOGARITHMIC, OF_A_SOURCE
from serving.ranking.item_signals import (
    NO_SIGNALS,
    POPULARITY_DAYS,
    RHYTHMS,
    SIGNALS,
    on_the_circles,
)
from serving.sources.candidate_source import Context
from serving.sources.trending import TrendingSource
from serving.user_acts import DAY


def ranking_features(
    rows: Rows,
    scores: Mapping[str, Scores],
    context: Context,
    trending: TrendingSource,
) -> npt.NDArray[np.float32]:
    """Return float32 [n, len(feature_names(scores))] of the candidates `rows`.

    scores: of each source, what it says of every row, float32 [n].
    """
    signals = context.model.ranking.signals if context.model.ranking else NO_SIGNALS
    known = signals.of_rows(rows)
    columns = [column for name, each in scores.items() for column in _of_source(name, each)]
    moment = on_the_circles(np.int64(microseconds(context.moment or context.at)))
    columns += _of_items(rows, context, trending, known, moment)
    columns += [np.full(len(rows), each, dtype=np.float32) for each in moment]
    columns += _of_users(rows, context)
    columns += _of_pairs(rows, context, known)
    # Column by column in memory too, as they were made.
    return np.stack(columns, dtype=np.float32).T


def _of_source(name: str, scores: Scores) -> list[Scores]:
    if not len(scores):
        return [scores] * len(OF_A_SOURCE)
    low, high = scores.min(), scores.max()
    spread = (high - low) or np.float32(1)
    descending = np.sort(-scores)
    ranks = np.searchsorted(descending, -scores, side="left")
    return [
        scores - high if name in LOGARITHMIC else scores,
        (scores - low) / spread,
        np.log1p(ranks),
    ]


def _of_items(
    rows: Rows,
    context: Context,
    trending: TrendingSource,
    known: npt.NDArray[np.float32],
    moment: npt.NDArray[np.float64],
) -> list[Scores]:
    worth = np.log1p(trending.worth(rows, context.at))
    *popularity, repeat_share, repeat_days = known[:, : -len(RHYTHMS)].T
    fits = known[:, -len(RHYTHMS) :] * moment
    month, year = (popularity[POPULARITY_DAYS.index(days)] for days in (30, 365))
    published = context.view.published[rows]
    is_known = published > UNPUBLISHED
    days = np.where(is_known, microseconds(context.at) - published, 0) / DAY
    prices = np.nan_to_num(context.view.prices[rows])
    return [
        *worth.T,
        *np.log1p(popularity),
        np.log((month + 1) / (year * (30 / 365) + 1)),
        repeat_share,
        np.log1p(repeat_days),
        np.log1p(np.maximum(days, 0)),
        is_known.astype(np.float32),
        np.log1p(prices),
        fits[:, :2].sum(axis=1),
        fits[:, 2:].sum(axis=1),
    ]


def _of_users(rows: Rows, context: Context) -> list[Scores]:
    acts = context.acts
    values = (
        np.log1p(acts.num_events),
        np.log1p(len(acts)),
        np.log1p(len(acts) / max(acts.num_moments, 1)),
        np.count_nonzero(acts.counts > 1) / max(len(acts), 1),
    )
    return [np.full(len(rows), value, dtype=np.float32) for value in values]


def _of_pairs(rows: Rows, context: Context, known: npt.NDArray[np.float32]) -> list[Scores]:
    acts = context.acts
    places = acts.places_of(rows)
    acted = places >= 0
    times = np.zeros(len(rows))
    since, between = np.zeros(len(rows)), np.zeros(len(rows))
    if acted.any():
        mine = places[acted]
        times[acted] = acts.counts[mine]
        # From the newest event: how long the user has been away says nothing of an item.
        since[acted] = (acts.newest - acts.last[mine]) / DAY
        spans = (acts.last[mine] - acts.first[mine]) / DAY
        between[acted] = spans / np.maximum(acts.counts[mine] - 1, 1)
    usual = known[:, SIGNALS.index("repeat_days")]
    due = np.where(acted & (usual > 0), np.log((since + 1) / (usual + 1)), 0)
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
