"""Training windows whose histories come through Feast's point-in-time join.

So what the model is shown in training is what the online store would have held at that moment;
Feast, not this package, ensures that nothing later gets in.
"""

from dataclasses import replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.offline_features import OfflineFeatures
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.windows import Histories, Windows, make_windows


def joined_windows(
    interactions: Interactions,
    settings: TrainingSettings,
    features: OfflineFeatures,
    since: datetime | None = None,
) -> Windows:
    """Return the windows of `interactions`, with histories that are joined by `features`.

    With `since`, only events from then on are asked for.

    1. The moment of each window's last event is a cut.
    2. Write the users' histories at the cuts to the offline store, from these events alone:
       a held-out event may have the timestamp of a cut, where no join could tell it apart.
    3. Join the cuts with these histories, and remove them from the store.
    4. Take the window's events from each history: a cut lets in all events of its moment, and a
       window may end between two of them.
    """
    windows = make_windows(interactions, settings, since)
    if len(windows) == 0:
        return windows
    # 1.
    newest = windows.end - 1
    cuts = pl.DataFrame(
        {
            "user_id": np.array(interactions.user_ids, dtype=object)[interactions.user[newest]],
            "timestamp": interactions.timestamp[newest],
        },
        schema_overrides={"user_id": pl.String(), "timestamp": pl.Datetime("us", "UTC")},
    )
    beyond = _end_of_moment(interactions, newest) - windows.end
    try:
        # 2.
        features.write_user_histories(
            interactions.frame(), cuts, max_length=settings.history_length + int(beyond.max())
        )
        # 3.
        joined = features.histories_at(cuts)
    finally:
        features.remove_user_histories()
    # 4.
    end = np.cumsum(joined["timestamps"].list.len().to_numpy().astype(np.int64)) - beyond
    histories = Histories(
        item=_indices(joined["item_ids"], pl.Series([item.item_id for item in interactions.items])),
        event_type=_indices(joined["event_types"], pl.Series(interactions.event_types)),
        timestamp=joined["timestamps"].explode().to_numpy(),
        start=end - (windows.end - windows.start),
        end=end,
    )
    return replace(windows, histories=histories)


def _end_of_moment(
    interactions: Interactions, events: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return for each of `events` the index after the last event of its user and moment."""
    changes = (np.diff(interactions.user) != 0) | (np.diff(interactions.timestamp) != 0)
    ends = np.append(np.flatnonzero(changes) + 1, len(interactions.user))
    return ends[np.searchsorted(ends, events, side="right")]


def _indices(lists: pl.Series, names: pl.Series) -> npt.NDArray[np.int32]:
    """Return the positions in `names` of all elements of the lists, one after another."""
    positions = pl.int_range(len(names), dtype=pl.Int32, eager=True)
    return lists.explode().replace_strict(names, positions, return_dtype=pl.Int32).to_numpy()
