"""Training windows: pieces of histories, and what the users did next.

Labels follow the dense all-action loss of PinnerFormer (Pancha et al., KDD 2022,
https://arxiv.org/abs/2205.04507): the query embedding after a position must predict events of
the whole horizon that follows, not the next event alone. Every label is strictly later
than all that its position has seen; events of one basket, which share a timestamp, never
predict each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from feature_repo.event_weights import UNNAMED_WEIGHT
from feature_repo.times import DAY, microseconds
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings


@dataclass(frozen=True, slots=True, eq=False)
class Histories:
    """The events that windows show the model: those of window w are the rows start[w]:end[w].

    item, event_type: int32, indices as in `Interactions`; timestamp: int64, microseconds.
    """

    item: npt.NDArray[np.int32]
    event_type: npt.NDArray[np.int32]
    timestamp: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Slices of the event columns. Window w covers the events start[w]:end[w] of one user.

    histories: these events, as they are shown to the model.
    A cut is the last event of a moment; cuts of window w are first_cut[w]:first_cut[w + 1].
    cut: int64 [num_cuts], event index; its labels are the events label_start:label_end, of which
    none is before `earliest`, microseconds.
    """

    histories: Histories
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    first_cut: npt.NDArray[np.int64]
    cut: npt.NDArray[np.int64]
    label_start: npt.NDArray[np.int64]
    label_end: npt.NDArray[np.int64]
    earliest: int

    def __len__(self) -> int:
        return len(self.start)


def make_windows(
    interactions: Interactions, settings: TrainingSettings, since: datetime | None = None
) -> Windows:
    """Cut every user's events into windows of at most `settings.history_length` events.

    Windows of a long history overlap by half, and each cut is predicted once, in the window
    that shows most of what came before it. With `since`, only events from then on are labels.
    """
    earliest = 0 if since is None else microseconds(since)
    starts, ends, counts = [], [], [0]
    cuts, label_starts, label_ends = [], [], []
    length = settings.history_length
    horizon = int(settings.horizon_days * DAY)
    for user in range(len(interactions.user_ids)):
        first, stop = interactions.first_event[user : user + 2]
        times = interactions.timestamp[first:stop]
        later = np.searchsorted(times, times, side="right")
        within = np.searchsorted(times, times + horizon, side="right")
        # The next moment always belongs to the horizon, however short that is.
        next_moment = np.searchsorted(times, times[np.minimum(later, len(times) - 1)], side="right")
        is_cut = (later < len(times)) & (later == np.arange(len(times)) + 1)
        is_cut &= times[np.minimum(later, len(times) - 1)] >= earliest
        for start, end, fresh in _spans(len(times), length):
            selected = np.flatnonzero(is_cut[fresh:end]) + fresh
            if len(selected) == 0:
                continue
            starts.append(first + start)
            ends.append(first + end)
            counts.append(len(selected))
            cuts.append(first + selected)
            label_starts.append(first + later[selected])
            label_ends.append(first + np.maximum(within[selected], next_moment[selected]))
    start_of, end_of = np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)
    return Windows(
        histories=Histories(
            interactions.item,
            interactions.event_type,
            interactions.timestamp,
            start_of,
            end_of,
        ),
        start=start_of,
        end=end_of,
        first_cut=np.cumsum(counts, dtype=np.int64),
        cut=_concatenate(cuts),
        label_start=_concatenate(label_starts),
        label_end=_concatenate(label_ends),
        earliest=earliest,
    )


def has_labels(interactions: Interactions, settings: TrainingSettings) -> bool:
    """Return whether there is anything to learn: an event of weight, after its user's first moment.

    Without one, `make_windows` makes no window, or none whose labels count.
    """
    return bool(_may_be_labels(interactions, settings).any())


def label_weights(
    interactions: Interactions, settings: TrainingSettings, events: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return float64 [len(events)], what each of `events`, by index, counts as a label.

    By its type, and by e less for every `recency_days` before the newest event of all.
    """
    age_days = (interactions.timestamp.max() - interactions.timestamp[events]) / DAY
    of_type = _type_weights(interactions, settings)[interactions.event_type[events]]
    weights: npt.NDArray[np.float64] = np.exp(-age_days / settings.recency_days) * of_type
    return weights


def label_shares(
    interactions: Interactions, windows: Windows, settings: TrainingSettings
) -> npt.NDArray[np.float32]:
    """Return float32 [num_items], the items' shares of the labels of a step, for logQ.

    A share is how often an item is drawn as a label, not how much it weighs as one. Like in that
    draw, an event counts 1 whatever its type and age. It counts 0 where it cannot be a label: where
    its type weighs 0, it is of its user's first moment, or it is older than `windows.earliest`.
    Items that have only such events are met as uniform negatives alone.
    """
    is_label = _may_be_labels(interactions, settings)
    is_label &= interactions.timestamp >= windows.earliest
    counts = np.bincount(interactions.item[is_label], minlength=len(interactions.items))
    shares: npt.NDArray[np.float32] = (counts / max(counts.sum(), 1)).astype(np.float32)
    return shares


def _may_be_labels(interactions: Interactions, settings: TrainingSettings) -> npt.NDArray[np.bool_]:
    first = interactions.timestamp[interactions.first_event[interactions.user]]
    has_weight = _type_weights(interactions, settings)[interactions.event_type] > 0
    may_be: npt.NDArray[np.bool_] = has_weight & (interactions.timestamp > first)
    return may_be


def _type_weights(
    interactions: Interactions, settings: TrainingSettings
) -> npt.NDArray[np.float32]:
    """Return float32 [num_event_types], the weight of a label of each type."""
    weights, names = settings.event_type_weights, interactions.event_types
    return np.array([weights.get(name, UNNAMED_WEIGHT) for name in names], dtype=np.float32)


def _spans(num_events: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, first position not covered by the window before)."""
    end = min(length, num_events)
    yield 0, end, 0
    step = max(length // 2, 1)
    while end < num_events:
        fresh = end
        end = min(end + step, num_events)
        yield max(end - length, 0), end, fresh


def _concatenate(parts: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Examples of `num_windows` windows.

    items, event_types: int32 [n, length], 0 being padding (indices are shifted by one);
    timestamps: int64 [n, length], 0 being padding; positions: int32 [n, p];
    labels: int32 [n, p, k], item indices, not shifted; weights: float32 [n, p, k], 0 where
    there is no label; searched: int32 [n, p], the item, shifted by one, whose text is the search
    query of the position, 0 for none; reference_time: int64 [n], the moment at which items' ages
    are taken.
    """

    items: npt.NDArray[np.int32]
    event_types: npt.NDArray[np.int32]
    timestamps: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    searched: npt.NDArray[np.int32]
    reference_time: npt.NDArray[np.int64]


def sample_batch(
    interactions: Interactions,
    windows: Windows,
    chosen: npt.NDArray[np.int64],
    settings: TrainingSettings,
    random: np.random.Generator,
) -> Batch:
    """Draw positions and labels for the windows `chosen`; a fresh draw every epoch.

    The columns are as wide as the longest of these windows needs.
    """
    num, length = len(chosen), int((windows.end - windows.start)[chosen].max(initial=0))
    asked = int(np.diff(windows.first_cut)[chosen].max(initial=0))
    shape = (num, min(asked, settings.positions_per_window), settings.labels_per_position)
    items = np.zeros((num, length), np.int32)
    event_types = np.zeros((num, length), np.int32)
    timestamps = np.zeros((num, length), np.int64)
    positions = np.zeros(shape[:2], np.int32)
    labels = np.zeros(shape, np.int32)
    weights = np.zeros(shape, np.float32)
    drawn = np.full(shape, -1, np.int64)
    histories = windows.histories
    for row, window in enumerate(chosen):
        start, end = histories.start[window], histories.end[window]
        size = end - start
        items[row, :size] = histories.item[start:end] + 1
        event_types[row, :size] = histories.event_type[start:end] + 1
        timestamps[row, :size] = histories.timestamp[start:end]
        cuts = np.arange(windows.first_cut[window], windows.first_cut[window + 1])
        if len(cuts) > shape[1]:
            cuts = random.choice(cuts, shape[1], replace=False)
        positions[row, : len(cuts)] = windows.cut[cuts] - windows.start[window]
        for column, cut in enumerate(cuts):
            candidates = np.arange(windows.label_start[cut], windows.label_end[cut])
            if len(candidates) > shape[2]:
                candidates = random.choice(candidates, shape[2], replace=False)
            drawn[row, column, : len(candidates)] = candidates
    is_label = drawn >= 0
    labels[is_label] = interactions.item[drawn[is_label]]
    weights[is_label] = label_weights(interactions, settings, drawn[is_label])
    searched = _searched(labels, weights, settings.query_share, random)
    labelled = np.flatnonzero(weights)
    if len(labelled) > settings.queries_per_step:
        kept = random.choice(labelled, settings.queries_per_step, replace=False)
        weights *= np.bincount(kept, minlength=weights.size).reshape(shape).astype(np.float32)
    return Batch(
        items=items,
        event_types=event_types,
        timestamps=timestamps,
        positions=positions,
        labels=labels,
        weights=weights,
        searched=searched,
        reference_time=timestamps.max(axis=1, initial=0),
    )


def _searched(
    labels: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    share: float,
    random: np.random.Generator,
) -> npt.NDArray[np.int32]:
    """Turn a share of the positions into searches that found their first label, and no other.

    Shops rarely log search queries, but have the texts of items: an item's text stands for the
    query that leads to it. Sets the weights of the position's other labels to 0.
    """
    if not share:
        return np.zeros(labels.shape[:2], np.int32)
    asked = (random.random(labels.shape[:2]) < share) & (weights[:, :, 0] > 0)
    weights[asked, 1:] = 0.0
    return np.where(asked, labels[:, :, 0] + 1, 0).astype(np.int32)
