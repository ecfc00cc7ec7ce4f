"""What a bundle has for ranking, over the live rows of the catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass

from feature_repo.history import HistoryEvent
from serving.ranking.calibrated_fusion import CalibratedFusion
from serving.ranking.ranker import Ranker
from serving.signals.item_neighbours import ItemNeighbours
from serving.signals.item_signals import ItemSignals


@dataclass(frozen=True, slots=True, eq=False)
class LiveRanking:
    """Tables of neighbours by the source that reads them, signals, and the ranker if it has one.

    fusion: what a training has learned of it; None where it has not. taking: the types of event
    that take an item, as a purchase does: how often people come back to an item is counted among
    these alone. Empty means all types. weightless: the types that say nothing for an item, as a
    hide does.
    """

    neighbours: Mapping[str, ItemNeighbours]
    signals: ItemSignals
    ranker: Ranker | None = None
    fusion: CalibratedFusion | None = None
    taking: tuple[str, ...] = ()
    weightless: tuple[str, ...] = ()

    def counted(self, events: tuple[HistoryEvent, ...]) -> tuple[HistoryEvent, ...]:
        """Return the events that say something for their items, in their order."""
        if not self.weightless:
            return events
        return tuple(event for event in events if event.event_type not in self.weightless)
