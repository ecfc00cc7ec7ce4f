"""What is acted on together with what the user acted on last."""

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from feature_repo.history import HistoryEvent
from feature_repo.online_features import CoVisitation
from feature_repo.times import DAY
from serving.candidates import Candidates, RowScores
from serving.item_rows import ItemRows, Rows
from serving.settings import ServingSettings
from serving.signals.item_neighbours import Contributions, placed_contributions
from serving.sources.candidate_source import Context

Shares = npt.NDArray[np.float32]


class CoVisitationSource:
    """Neighbours of the user's newest events, by how probably they are acted on next.

    An item's neighbours share its weight of 1; the items of the history are weighed by
    exp(-age / `co_visitation_days`), ages being relative to the user's newest event, so that
    time passing changes no list.
    """

    name = "co_visitation"

    def __init__(self, rows: ItemRows, settings: ServingSettings) -> None:
        self._rows = rows
        self._days = settings.co_visitation_days
        self._events = settings.co_visitation_events
        self._neighbours: dict[str, tuple[Rows, Shares]] = {}
        self._lock = threading.Lock()

    def update(self, records: Sequence[CoVisitation]) -> None:
        """Take over the newest neighbours of some items."""
        with self._lock:
            for record in records:
                weights = np.array(record.weights)
                total = weights.sum()
                if total > 0:
                    shares = (weights / total).astype(np.float32)
                    neighbours = (self._rows.add(record.neighbour_ids), shares)
                    self._neighbours[record.item_id] = neighbours
                else:
                    self._neighbours.pop(record.item_id, None)

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows by their share, at most 1 in all."""
        return self.neighbours_of(context.events).candidates(context.allowed, count)

    def neighbours_of(self, events: Sequence[HistoryEvent]) -> RowScores:
        """Return all neighbours of a history's newest events with their shares."""
        known = self._known(events)
        return RowScores.summed(
            np.concatenate([np.empty(0, np.int64), *(rows for _, rows, _ in known)]),
            np.concatenate([np.empty(0, np.float32), *(shares for _, _, shares in known)]),
        )

    def contributions(self, context: Context, rows: Rows) -> Contributions:
        """Return the summands of the scores of `rows`, by item of `context.acts`."""
        known = self._known(context.events)
        places = context.acts.places_of(self._rows.rows_of(item_id for item_id, _, _ in known))
        lengths = [len(neighbours) for _, neighbours, _ in known]
        return placed_contributions(
            np.repeat(places, lengths),
            np.concatenate([np.empty(0, np.int64), *(rows for _, rows, _ in known)]),
            np.concatenate([np.empty(0, np.float32), *(shares for _, _, shares in known)]),
            len(context.acts),
            rows,
        )

    def _known(self, events: Sequence[HistoryEvent]) -> list[tuple[str, Rows, Shares]]:
        """Return the items of the newest events that have neighbours, with their weighed shares."""
        weights = self._weights(events[-self._events :])
        found = [(item_id, self._neighbours.get(item_id)) for item_id in weights]
        return [
            (item_id, each[0], each[1] * np.float32(weights[item_id]))
            for item_id, each in found
            if each is not None
        ]

    def _weights(self, events: Sequence[HistoryEvent]) -> dict[str, float]:
        """Return what each item of the history counts for; they sum to 1."""
        weights: dict[str, float] = {}
        for event in events:
            age = events[-1].timestamp - event.timestamp
            weight = float(np.exp(-age / (self._days * DAY)))
            weights[event.item_id] = weights.get(event.item_id, 0.0) + weight
        total = sum(weights.values())
        return {item_id: weight / total for item_id, weight in weights.items()}
