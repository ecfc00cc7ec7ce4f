"""How far what happens now is from what the bundle that serves has learned from.

Distributions are compared by the population stability index, the sum of (q - p) ln(q / p) over
bins (Siddiqi, "Credit Risk Scorecards", Wiley 2006). By its rule of thumb below .1 is no change
and above .25 is one that calls for a new model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from serving.bundle import (
    CANDIDATE_COUNTS,
    CANDIDATE_EMBEDDINGS,
    CANDIDATE_IDS,
    ITEMS,
    read_array,
    read_ids,
    read_manifest,
)
from trainer.interactions import without_later
from trainer.refresh.drift_settings import DriftSettings, Signals

Counts = npt.NDArray[np.float64]

NORM_BINS = 10

LEAST_SHARE = 0.05
"""Rarer categories share a bin. By chance alone the index of n events is about the number of bins
over n, which many categories would take beyond any threshold."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One measure: `value` is beyond `threshold` where the model should be renewed."""

    name: str
    value: float
    threshold: float

    @property
    def drifted(self) -> bool:
        """Whether it is beyond the threshold."""
        return self.value > self.threshold


@dataclass(frozen=True, slots=True)
class Drift:
    """The signals of `events` events that the bundle has not seen; none where these are too few."""

    version: str
    since: datetime
    events: int
    signals: tuple[Signal, ...]

    @property
    def drifted(self) -> list[Signal]:
        """The signals that are beyond their thresholds."""
        return [signal for signal in self.signals if signal.drifted]


def measure_drift(
    bundle: Path,
    events: pl.LazyFrame,
    catalogue: Sequence[str],
    settings: DriftSettings,
    now: datetime,
) -> Drift:
    """Compare the events after the bundle's data window with those within it.

    - `event_types`: index of the shares of event types.
    - `categories`: index of the shares of the items' first categories, of which the rare ones are
      taken together, as many as had `LEAST_SHARE` of the window's events, and so is the rest.
    - `embedding_norm`: index of the norms of the acted-on items' embeddings, in tenths of those of
      the window. An item that the bundle does not know has none.
    - `unseen_items`: of the events on items of the catalogue, the share on those that the bundle
      saw no event of. From events on others no model learns.

    events: columns item_id, event_type and timestamp. catalogue: the ids of the items that there
    are now. Events later than `now` are left out.

    Raises:
        BundleError: a file of the bundle cannot be read.
        ValueError: the bundle does not say which events it learned from.
    """
    manifest = read_manifest(bundle)
    start, end = manifest.data_window.start, manifest.data_window.end
    if start is None or end is None:
        raise ValueError(f"bundle {bundle.name} does not say which events it learned from.")
    columns = events.select("item_id", "event_type", "timestamp")
    newer = without_later(columns.filter(pl.col("timestamp") > end).collect(), now)
    if newer.height < settings.min_events:
        return Drift(bundle.name, end, newer.height, ())
    older = columns.filter(pl.col("timestamp").is_between(start, end)).collect()
    known = _known_items(bundle, manifest.dimension - int(manifest.popularity_coordinate))
    before, after = (each.join(known, on="item_id", how="left") for each in (older, newer))
    listed = after.filter(after["item_id"].is_in(pl.Series(catalogue, dtype=pl.String).implode()))
    unseen = listed["count"].fill_null(0).to_numpy() == 0
    values: dict[Signals, float] = {
        "event_types": stability_index(*_counts(before["event_type"], after["event_type"])),
        "categories": stability_index(*_pooled(*_counts(before["category"], after["category"]))),
        "embedding_norm": _index_of_numbers(before["norm"], after["norm"]),
        "unseen_items": float(unseen.mean()) if len(unseen) else 0.0,
    }
    return Drift(bundle.name, end, newer.height, signals_of(values, settings))


def signals_of(
    values: Mapping[Signals, float] | Mapping[str, float], settings: DriftSettings
) -> tuple[Signal, ...]:
    """Return the signals that have a threshold, with their values by name."""
    thresholds = dict[str, float](settings.thresholds.items())
    return tuple(
        Signal(name, value, thresholds[name])
        for name, value in values.items()
        if name in thresholds
    )


def stability_index(then: Counts, now: Counts) -> float:
    """Return the population stability index of counts float [bins] then and now.

    Half an event is added to each bin: one that was empty would be infinitely far.
    """
    before, after = (counts + 0.5 for counts in (then, now))
    before, after = before / before.sum(), after / after.sum()
    return float(np.sum((after - before) * np.log(after / before)))


def _known_items(bundle: Path, num_tastes: int) -> pl.DataFrame:
    """Return the bundle's items: item_id, category, norm of the embedding, count of events."""
    item_ids = read_ids(bundle / CANDIDATE_IDS)
    embeddings = read_array(bundle / CANDIDATE_EMBEDDINGS, np.dtype(np.float32))
    items = pl.read_parquet(bundle / ITEMS)
    categories = items["item"].str.json_path_match("$.categories[0]").fill_null("")
    return pl.DataFrame(
        {
            "item_id": item_ids,
            "norm": np.linalg.norm(embeddings[:, :num_tastes], axis=1),
            "count": read_array(bundle / CANDIDATE_COUNTS, np.dtype(np.int64)),
        }
    ).join(items.select("item_id", category=categories), on="item_id", how="left")


def _counts(then: pl.Series, now: pl.Series) -> tuple[Counts, Counts]:
    """Return how often each name comes then and now; what is not known (null) is a name too."""
    counts = [
        names.fill_null("\0").value_counts().rename({names.name: "name", "count": f"n{number}"})
        for number, names in enumerate((then, now))
    ]
    both = counts[0].join(counts[1], on="name", how="full", coalesce=True).fill_null(0)
    both = both.sort(pl.col("n0"), "name", descending=[True, False])
    return both["n0"].to_numpy().astype(np.float64), both["n1"].to_numpy().astype(np.float64)


def _pooled(then: Counts, now: Counts) -> tuple[Counts, Counts]:
    """Return the counts of bins that had `LEAST_SHARE` then, or more, each of neighbours.

    then: in descending order. The last bin is of the rest, however little that was: among what was
    common, what is new or no longer rare would not show.
    """
    least, starts = LEAST_SHARE * then.sum(), [0]
    before = np.concatenate([[0.0], np.cumsum(then)])
    for place in range(len(then)):
        if before[place] - before[starts[-1]] >= least > 0:
            starts.append(place)
    return np.add.reduceat(then, starts), np.add.reduceat(now, starts)


def _index_of_numbers(then: pl.Series, now: pl.Series) -> float:
    before, after = (each.drop_nulls().to_numpy() for each in (then, now))
    if not len(before) or not len(after):
        return 0.0
    edges = np.unique(np.quantile(before, np.linspace(0, 1, NORM_BINS + 1)[1:-1]))
    counts = (
        np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1).astype(np.float64)
        for values in (before, after)
    )
    return stability_index(*counts)
