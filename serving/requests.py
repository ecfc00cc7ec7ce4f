"""What the recommender is asked and what it answers, independent of any transport."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from pydantic import Field

from feature_repo.history import HistoryEvent
from serving.source_names import AskedSource

MAX_LIMIT = 500
MAX_OFFSET = 10_000
MAX_SESSION = 500
MAX_IDS = 1000

Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET)]
Share = Annotated[float, Field(ge=0, le=1)]
CapSize = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
"""Whether values are within these bounds is checked where they come from outside: in bodies and
queries of the HTTP edge, and in settings."""


class UnknownItemError(LookupError):
    """An item that is not in the catalogue, or has no embedding yet."""

    def __init__(self, item_id: str) -> None:
        super().__init__(f"`item_id` must name an item of the catalogue. Received: {item_id!r}.")
        self.item_id = item_id


class FeaturesUnavailableError(Exception):
    """The online store cannot be read now."""


@dataclass(frozen=True, slots=True)
class ListRequest:
    """What every list can be asked. The same request over the same state has the same answer.

    filter: SQL boolean expression over catalogue columns.
    A field that is None has no effect, unless `Reranker.completed` fills it in from the settings.
    diversity: 0 orders by score alone, 1 by difference alone. calibration: 1 shows categories as
    often as the history has them. exploration: the share of places given to new and uncertain
    items, drawn by `request_id`. category_cap, brand_cap: the most items of one category, or
    brand, among the next places.
    """

    request_id: str
    _: KW_ONLY
    limit: Limit = 20
    offset: Offset = 0
    filter: str | None = None
    exclude_item_ids: frozenset[str] = frozenset()
    diversity: Share | None = None
    calibration: Share | None = None
    exploration: Share | None = None
    category_cap: CapSize | None = None
    brand_cap: CapSize | None = None

    @property
    def end(self) -> int:
        """The length of the list that ends with the requested page."""
        return self.offset + self.limit

    @property
    def is_by_score(self) -> bool:
        """Whether the list is in the order of the scores, unless business rules change it."""
        caps = (self.category_cap, self.brand_cap)
        return not any((self.diversity, self.calibration, self.exploration, *caps))


@dataclass(frozen=True, slots=True)
class RecommendRequest(ListRequest):
    """The best for a user or a session; a None stands for what `[serving.reranking]` sets.

    session: events not yet (or never) sent to the log, added to the stored history for this
    answer. context_item_ids: the items that the page shows; they count as viewed after the session.
    exclude_seen: True leaves out every item of the history; a set, only those with an event of
    these types. sources: where given, only these of `ASKED_SOURCES` are asked, whatever the
    settings say, and only what they propose is shown: in the source's own order where there is one,
    in the order of the ranking where there are several. explain: whether places have reasons and
    explanations.
    """

    user_id: str | None = None
    session: tuple[HistoryEvent, ...] = ()
    context_item_ids: tuple[str, ...] = ()
    exclude_seen: bool | frozenset[str] = False
    sources: frozenset[AskedSource] | None = None
    explain: bool = False


@dataclass(frozen=True, slots=True)
class SimilarRequest(ListRequest):
    """Items like one item, which itself is left out."""

    item_id: str


@dataclass(frozen=True, slots=True)
class TrendingRequest(ListRequest):
    """What everybody acts on now. `category` keeps the items that carry this category."""

    category: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryShare:
    """An item of the user's history, what was last done with it, and its share in 0..1.

    Sources that score by a sum over the history give each of its items a share of that sum; these
    are averaged over such sources that proposed the place. Where there is none, shares are those of
    the cosines of embeddings.
    """

    item_id: str
    event_type: str
    share: float


@dataclass(frozen=True, slots=True)
class FeatureEffect:
    """A feature by name and in words, its value, and what it adds to the score beside the mean."""

    name: str
    words: str
    value: float
    effect: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an item has its place: the history and the ranker's features, the strongest first.

    features: none where no ranker has scored the item.
    """

    history: tuple[HistoryShare, ...]
    features: tuple[FeatureEffect, ...]


@dataclass(frozen=True, slots=True)
class RecommendedItem:
    """One place of the list.

    score: comparable within one list only. sources: which of `ASKED_SOURCES` proposed it, or
    "similar"; the last may be what gave it its place, "pinned", "promoted" or "exploration". What a
    rule places that is not among the re-ranked candidates has score and sources of a list of the
    rule's items alone; what is explored, the least score of those candidates.
    reason, explanation: a sentence for people and what it is based on, where they were asked for.
    """

    item_id: str
    score: float
    sources: tuple[str, ...]
    reason: str | None = None
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A ranked list, best first; one model made all of it."""

    request_id: str
    model_version: str
    items: tuple[RecommendedItem, ...]
