"""Co-visitation of many events at once, over columns: the sums of `feature_repo.co_visitation`."""

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.co_visitation import DECAY
from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.event_weights import UNNAMED_WEIGHT
from feature_repo.history import EVENT_KEY
from feature_repo.online_features import CoVisitation
from feature_repo.times import DAY

COLUMNS = ("user_id", "timestamp", "event_id", "item_id", "event_type")
_ROWS_PER_SUM = 4_000_000


def co_visited(
    events: pl.DataFrame, known: pl.DataFrame, settings: CoVisitationSettings, max_history: int
) -> dict[str, CoVisitation]:
    """Return the sums of the pairs that `events` make with each other and with `known` events.

    events, known: frames with `COLUMNS`, timestamps in microseconds; an event that is in both
    counts as one of `events`. Two events are a pair where a history of `max_history` could hold
    both.
    """
    known = known.join(events, on=EVENT_KEY, how="anti")
    both = pl.concat(
        [
            events.select(COLUMNS).with_columns(new=pl.lit(True)),
            known.select(COLUMNS).with_columns(new=pl.lit(False)),
        ]
    ).sort("user_id", "timestamp", "event_id")
    if both.is_empty():
        return {}
    items = both["item_id"].unique().sort()
    landmark = int(both["timestamp"].max()) // DECAY * DECAY  # type: ignore[arg-type]
    sums = _sums(both, items, landmark, settings, max_history)
    return _records(sums, items, landmark, settings.neighbours)


def _sums(
    both: pl.DataFrame,
    items: pl.Series,
    landmark: int,
    settings: CoVisitationSettings,
    max_history: int,
) -> pl.DataFrame:
    """Return the columns item, neighbour, weight as of `landmark`, and newest."""
    user = both["user_id"].rank("dense").to_numpy()
    item = items.search_sorted(both["item_id"]).to_numpy().astype(np.int64)
    moment = both["timestamp"].to_numpy()
    is_new = both["new"].to_numpy()
    types = both["event_type"].unique()
    weights = settings.event_type_weights
    worths = [weights.get(name, UNNAMED_WEIGHT) ** 0.5 for name in types]
    worth = both["event_type"].replace_strict(types, worths, return_dtype=pl.Float64).to_numpy()
    window = settings.window_days * DAY
    parts: list[pl.DataFrame] = []
    for distance in range(1, min(max_history, both.height)):
        gap = moment[distance:] - moment[:-distance]
        near = (user[distance:] == user[:-distance]) & (gap <= window)
        if not near.any():
            break  # Events further apart in order are further apart in time.
        near &= (item[distance:] != item[:-distance]) & (is_new[distance:] | is_new[:-distance])
        first = np.flatnonzero(near)
        second = first + distance
        gap = gap[first]
        weight = worth[first] * worth[second] * np.exp(-gap / (settings.gap_days * DAY))
        weight *= np.exp((moment[second] - landmark) / DECAY)
        back = np.where(gap == 0, weight, weight * settings.backward)
        parts += [
            _part(item[first], item[second], weight, moment[second]),
            _part(item[second], item[first], back, moment[second]),
        ]
        if sum(part.height for part in parts) > _ROWS_PER_SUM:
            parts = [_summed(parts)]
    return _summed(parts)


def _part(
    item: npt.NDArray[np.int64],
    neighbour: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64],
    newest: npt.NDArray[np.int64],
) -> pl.DataFrame:
    columns = {"item": item, "neighbour": neighbour, "weight": weight, "newest": newest}
    return pl.DataFrame(columns).filter(pl.col("weight") > 0)


def _summed(parts: list[pl.DataFrame]) -> pl.DataFrame:
    if not parts:
        nothing = np.empty(0, np.int64)
        return _part(nothing, nothing, nothing.astype(np.float64), nothing)
    sums = pl.concat(parts).group_by("item", "neighbour")
    return sums.agg(pl.col("weight").sum(), pl.col("newest").max())


def _records(
    sums: pl.DataFrame, items: pl.Series, landmark: int, most: int
) -> dict[str, CoVisitation]:
    own = pl.col("newest").max().over("item") // DECAY * DECAY
    rows = (
        sums.with_columns(landmark=own)
        .with_columns(pl.col("weight") * ((landmark - pl.col("landmark")) / DECAY).exp())
        # Items are numbered in the order of the alphabet.
        .sort("item", "weight", "neighbour", descending=[False, True, False])
        .group_by("item", maintain_order=True)
        .agg(pl.col("landmark").first(), pl.exclude("landmark").head(most))
    )
    names = items.to_numpy()
    return {
        item_id: CoVisitation(item_id, of_item, tuple(names[neighbours].tolist()), tuple(weights))
        for item_id, of_item, neighbours, weights in zip(
            names[rows["item"].to_numpy()].tolist(),
            rows["landmark"],
            (list_.to_numpy() for list_ in rows["neighbour"]),
            rows["weight"].to_list(),
            strict=True,
        )
    }
