"""What each source brings: places of lists, and what people then do with them."""

import threading
from collections import Counter as Counts
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter

from serving.requests import MAX_LIMIT, MAX_OFFSET, Recommendation
from serving.source_names import EXPLORED, PINNED, PROMOTED

OTHER = "other"
"""The label of all event types without one of their own, since any type may be sent."""

MOST_PLACES = MAX_OFFSET + MAX_LIMIT
"""No list has more places. A `request_id` that is used for many lists begins anew beyond them."""


LIST_PLACES = 20
"""A list takes about as much memory as so many places, besides those that it has."""


@dataclass(slots=True)
class _Served:
    """The sources of each item of a list, page after page, and what has been counted of it."""

    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    counted: set[tuple[str, str]] | None = None  # Most lists are never acted on.

    @property
    def weight(self) -> int:
        return LIST_PLACES + len(self.sources)


class SourceShares:
    """Counts places and acts by source; a place that several propose is split evenly between them.

    So the counts of all sources add up to the number of places, and a source's part of the sum is
    its share. A place that a pin, a promotion or exploration gave counts for that alone. An act is
    counted where it comes with the `request_id` of a list that was answered here and shows the
    item: once for each event type, however often it is sent. Safe for many threads.

    places: the newest lists are remembered, up to so many places in all, where a list counts for
    `LIST_PLACES` more than it has; 0 attributes no acts.
    event_types: those with a label of their own.
    """

    def __init__(
        self, registry: CollectorRegistry, places: int, event_types: Collection[str]
    ) -> None:
        self._places = Counter(
            "riverrun_source_places",
            "Places of answered lists, by source; one that several propose is split evenly.",
            ["source"],
            registry=registry,
        )
        self._acts = Counter(
            "riverrun_source_acts",
            "Events on places of answered lists, named by their request_id, split alike.",
            ["source", "event_type"],
            registry=registry,
        )
        self._most = places
        self._event_types = frozenset(event_types)
        self._lists: OrderedDict[str, _Served] = OrderedDict()
        self._remembered = 0
        # Places with the same sources share one tuple, which saves memory.
        self._combinations: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def served(self, answer: Recommendation) -> None:
        """Count the places of an answer, and remember them for the acts that follow."""
        sums: dict[str, float] = {}
        for sources, times in Counts(item.sources for item in answer.items).items():
            for source, credit in _credits(sources).items():
                sums[source] = sums.get(source, 0.0) + times * credit
        for source, credit in sums.items():
            self._places.labels(source).inc(credit)
        if not self._most or not answer.items:
            return
        with self._lock:
            known = self._lists.pop(answer.request_id, None)
            if known:
                self._remembered -= known.weight
                if len(known.sources) + len(answer.items) > MOST_PLACES:
                    known = None
            known = self._lists[answer.request_id] = known or _Served()
            for item in answer.items:
                combination = self._combinations.setdefault(item.sources, item.sources)
                known.sources.setdefault(item.item_id, combination)
            self._remembered += known.weight
            while self._remembered > self._most:
                _, oldest = self._lists.popitem(last=False)
                self._remembered -= oldest.weight

    def acted(self, request_id: str, item_id: str, event_type: str) -> None:
        """Count an event that names a list; one that is not remembered is no error."""
        label = event_type if event_type in self._event_types else OTHER
        with self._lock:
            known = self._lists.get(request_id)
            if known is None or item_id not in known.sources:
                return
            known.counted = known.counted or set()
            if (item_id, label) in known.counted:
                return
            known.counted.add((item_id, label))
            sources = known.sources[item_id]
        for source, credit in _credits(sources).items():
            self._acts.labels(source, label).inc(credit)


def _credits(sources: Sequence[str]) -> dict[str, float]:
    if sources[-1] in (PINNED, PROMOTED, EXPLORED):
        return {sources[-1]: 1.0}
    return dict.fromkeys(sources, 1 / len(sources))
