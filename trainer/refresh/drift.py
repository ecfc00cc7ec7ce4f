"""How far what happens now is from what the bundle that serves has learned from.

Distributions are compared by the population stability index, the sum of (q - p) ln(q / p) over
bins (Siddiqi, "Credit Risk Scorecards", Wiley 2006). By its rule of thumb below .1 is no change
and above .25 is one that calls for a new model.
"""

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
from trainer.refresh.drift_settings import DriftSettings, Signals

NORM_BINS = 10


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


def measure_drift(bundle: Path, events: pl.LazyFrame, settings: DriftSettings) -> Drift:
    """Compare the events after the bundle's data window with those within it.

    - `event_types`, `categories`: index of the shares of event types, and of the items' first
      categories.
    - `embedding_norm`: index of the norms of the acted-on items' embeddings, in tenths of those of
      the window. An item that the bundle does not know has none.
    - `unseen_items`: the share of events on items that the bundle saw no event of.

    events: columns item_id, event_type and timestamp.

    Raises:
        BundleError: a file of the bundle cannot be read.
        ValueError: the bundle does not say which events it learned from.
    """
    manifest = read_manifest(bundle)
    start, end = manifest.data_window.start, manifest.data_window.end
    if start is None or end is None:
        raise ValueError(f"bundle {bundle.name} does not say which events it learned from.")
    columns = events.select("item_id", "event_type", "timestamp")
    newer = columns.filter(pl.col("timestamp") > end).collect()
    if newer.height < settings.min_events:
        return Drift(bundle.name, end, newer.height, ())
    older = columns.filter(pl.col("timestamp").is_between(start, end)).collect()
    known = _known_items(bundle, manifest.dimension - int(manifest.popularity_coordinate))
    then, now = (each.join(known, on="item_id", how="left") for each in (older, newer))
    unseen = now["count"].fill_null(0).to_numpy() == 0
    values: dict[Signals, float] = {
        "event_types": _index_of_names(then["event_type"], now["event_type"]),
        "categories": _index_of_names(then["category"], now["category"]),
        "embedding_norm": _index_of_numbers(then["norm"], now["norm"]),
        "unseen_items": float(unseen.mean()),
    }
    signals = tuple(
        Signal(name, value, settings.thresholds[name])
        for name, value in values.items()
        if name in settings.thresholds
    )
    return Drift(bundle.name, end, newer.height, signals)


def stability_index(then: npt.NDArray[np.float64], now: npt.NDArray[np.float64]) -> float:
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


def _index_of_names(then: pl.Series, now: pl.Series) -> float:
    """Return the index of names; what is not known (null) is a name too."""
    counts = [
        names.fill_null("\0").value_counts().rename({names.name: "name", "count": f"n{number}"})
        for number, names in enumerate((then, now))
    ]
    both = counts[0].join(counts[1], on="name", how="full", coalesce=True).fill_null(0)
    return stability_index(*(both[name].to_numpy().astype(np.float64) for name in ("n0", "n1")))


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
