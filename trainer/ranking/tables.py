"""Tables of neighbours and signals of items, from what happened before a moment."""

from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt
from scipy import sparse

from feature_repo.times import DAY
from serving.scann_searcher import build_searcher
from serving.signals.item_neighbours import NeighbourTable
from serving.signals.item_signals import POPULARITY_DAYS, RHYTHMS, SIGNALS
from serving.user_acts import VISIT
from trainer.baselines.ease import item_weights
from trainer.baselines.item_knn import Cosines
from trainer.baselines.recency_knn import transition_shares
from trainer.baselines.user_item import largest_weights
from trainer.interactions import Interactions
from trainer.ranking.rhythms import rhythms
from trainer.ranking.settings import RankerSettings

Floats = npt.NDArray[np.float32]
WeightsOf = Callable[[slice], Floats]
"""From a slice of rows to their weights, float32 [len(slice), num_columns]."""

EXACT_ITEMS = 20_000
"""Up to so many items every pair of texts is compared."""

BATCH = 2_048
"""Rows of likenesses that are held at a time."""


def ease_table(past: Interactions, settings: RankerSettings) -> NeighbourTable:
    """Return the largest weights of EASE on decayed events (Steck, WWW 2019, arXiv:1905.03375).

    Items beyond the `ease_items` most acted-on have no neighbours, and are none.
    """
    num_items = len(past.items)
    counts = np.bincount(past.item, minlength=num_items)
    kept = np.sort(np.argsort(-counts, kind="stable")[: settings.ease_items])
    kept = kept[counts[kept] > 0]
    newest = past.timestamp.max(initial=0)
    ages = (newest - past.timestamp) / (settings.ease_days * DAY)
    user_item = largest_weights(past, np.exp(-ages).astype(np.float32))[:, kept]
    weights = np.zeros((0, 0), np.float32)
    if len(kept):
        weights = item_weights(user_item, settings.ease_regularisation)
    return _table(
        num_items,
        kept,
        lambda part: weights[part],
        settings.neighbours,
        (settings.ease_history_days, settings.ease_history_events),
    )


def text_table(text_embeddings: Floats, settings: RankerSettings) -> NeighbourTable:
    """Return the nearest items by cosine of text embeddings, unit vectors [num_items, n]."""
    num_items = len(text_embeddings)
    fades = settings.text_history_days, settings.text_history_events
    if num_items > EXACT_ITEMS:
        return _approximate_table(text_embeddings, settings.text_neighbours, fades)
    transposed = text_embeddings.T

    def likenesses(part: slice) -> Floats:
        likenesses: Floats = text_embeddings[part] @ transposed
        rows = np.arange(len(likenesses))
        likenesses[rows, rows + part.start] = -np.inf  # nothing is like itself
        return likenesses

    every = np.arange(num_items)
    return _table(num_items, every, likenesses, settings.text_neighbours, fades)


def _approximate_table(
    text_embeddings: Floats, count: int, fades: tuple[float, float]
) -> NeighbourTable:
    """Return the neighbours that ScaNN finds: all pairs of a large catalogue are too many."""
    num_items = len(text_embeddings)
    leaves = round(num_items**0.5)
    searcher = build_searcher(
        text_embeddings,
        neighbours=count + 1,
        leaves=leaves,
        searched_leaves=leaves // 4,
        sample_size=EXACT_ITEMS,
        reordered=4 * count,
    )
    columns = np.zeros((num_items, count), dtype=np.int32)
    values = np.zeros((num_items, count), dtype=np.float32)
    for start in range(0, num_items, BATCH):
        part = slice(start, min(start + BATCH, num_items))
        rows = np.arange(part.start, part.stop)
        found, likenesses = searcher.search_batched_parallel(text_embeddings[part])
        # Mostly the item finds itself first; a twin of its text may come before it.
        likenesses = np.where(found == rows[:, None], -np.inf, np.nan_to_num(likenesses))
        order = np.argsort(-likenesses, axis=1)[:, :count]
        columns[part] = np.take_along_axis(found, order, axis=1)
        values[part] = np.take_along_axis(likenesses, order, axis=1)
    starts = np.arange(num_items + 1, dtype=np.int64) * count
    return NeighbourTable(starts, columns.ravel(), values.ravel(), *fades)


def transitions_table(past: Interactions, settings: RankerSettings) -> NeighbourTable:
    """Return what follows each item, and its neighbours by cosine, as `RecencyKnn` adds them up."""
    num_items = len(past.items)
    shares = transition_shares(past, settings.transition_distance)
    lengths, neighbours, weights = [np.zeros(1, np.int64)], [], []
    # As sparse as they are: of a large catalogue a row of all items is mostly zeros.
    for part, cosines in Cosines(past).parts(np.arange(num_items)):
        rows = (shares[part] + settings.transition_cosine_weight * cosines).tocsr()
        kept = _largest_of_rows(rows, settings.neighbours)
        lengths.append(np.bincount(_row_of(rows)[kept], minlength=len(part)))
        neighbours.append(rows.indices[kept].astype(np.int32))
        weights.append(rows.data[kept].astype(np.float32))
    return NeighbourTable(
        np.cumsum(np.concatenate(lengths)),
        np.concatenate(neighbours),
        np.concatenate(weights),
        settings.transition_history_days,
        settings.transition_history_events,
    )


def item_signals(past: Interactions, taking: Collection[str] = ()) -> Floats:
    """Return `SIGNALS` of the past's items, float32 [num_items, len(SIGNALS)].

    taking: the types of event that take an item; empty says that every event does.
    """
    num_items = len(past.items)
    newest = int(past.timestamp.max(initial=0))
    signals = np.zeros((num_items, len(SIGNALS)), dtype=np.float32)
    for column, days in enumerate(POPULARITY_DAYS):
        recent = past.timestamp > newest - days * DAY
        signals[:, column] = _users_of(past.user[recent], past.item[recent], num_items)
    # Moments of one user on one item, in order: what is between two visits is a return.
    columns = np.stack([past.user, past.item, past.timestamp], axis=1)
    moments = np.unique(columns[past.is_of(taking)] if taking else columns, axis=0)
    gaps = np.diff(moments[:, 2])
    again = (moments[1:, :2] == moments[:-1, :2]).all(axis=1) & (gaps >= VISIT)
    items, gaps = moments[1:, 1][again], gaps[again] / DAY
    users = _users_of(moments[:, 0], moments[:, 1], num_items)
    returned = _users_of(moments[1:, 0][again], items, num_items)
    signals[:, SIGNALS.index("repeat_share")] = returned / np.maximum(users, 1)
    signals[:, SIGNALS.index("repeat_days")] = _medians(items, gaps, num_items)
    signals[:, -len(RHYTHMS) :] = rhythms(past)
    return signals


def _users_of(
    user: npt.NDArray[np.integer], item: npt.NDArray[np.integer], num_items: int
) -> npt.NDArray[np.int64]:
    """Return int64 [num_items], how many users there are of each item."""
    pairs = np.unique(user.astype(np.int64) * num_items + item)
    return np.bincount(pairs % max(num_items, 1), minlength=num_items)


def _medians(
    items: npt.NDArray[np.int64], values: npt.NDArray[np.float64], num_items: int
) -> npt.NDArray[np.float64]:
    medians = np.zeros(num_items)
    order = np.lexsort((values, items))
    distinct, starts, counts = np.unique(items[order], return_index=True, return_counts=True)
    medians[distinct] = values[order][starts + counts // 2]
    return medians


def _row_of(rows: sparse.csr_array) -> npt.NDArray[np.int64]:
    """Return int64 [num_entries], the row of each entry."""
    return np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))


def _largest_of_rows(rows: sparse.csr_array, count: int) -> npt.NDArray[np.int64]:
    """Return the entries that are among the `count` largest of their rows, row by row."""
    row = _row_of(rows)
    order = np.lexsort((-rows.data, row))
    place = np.arange(len(order)) - rows.indptr[row]
    return order[place < count]


def _table(
    num_items: int,
    kept: npt.NDArray[np.int64],
    weights_of: WeightsOf,
    neighbours: int,
    fades: tuple[float, float],
) -> NeighbourTable:
    """Keep the largest of each row of weights [len(kept), len(kept)], which stand for `kept`.

    fades: days and events of `NeighbourTable`.
    """
    count = min(neighbours, len(kept))
    columns = np.zeros((len(kept), count), dtype=np.int32)
    values = np.zeros((len(kept), count), dtype=np.float32)
    for start in range(0, len(kept) if count else 0, BATCH):
        part = slice(start, min(start + BATCH, len(kept)))
        weights = weights_of(part)
        places = np.argpartition(-weights, count - 1, axis=1)[:, :count]
        columns[part] = kept[places]
        values[part] = np.nan_to_num(np.take_along_axis(weights, places, axis=1), neginf=0.0)
    lengths = np.zeros(num_items, dtype=np.int64)
    lengths[kept] = count
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return NeighbourTable(starts, columns.ravel(), values.ravel(), *fades)
