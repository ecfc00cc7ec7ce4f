"""The contract of what proposes candidates for one request."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from feature_repo.history import HistoryEvent
from feature_repo.times import DAY, microseconds, minute_of
from serving.candidates import Candidates
from serving.catalogue import CatalogueView
from serving.catalogue_columns import UNPUBLISHED
from serving.item_rows import Mask, Rows
from serving.live_model import LiveModel
from serving.signals.item_neighbours import Contributions
from serving.signals.taste import NO_TASTE, Taste
from serving.user_acts import NO_ACTS, UserActs


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What one request is answered from.

    allowed: bool [num_rows], what may be shown. filtered: whether a filter narrowed it.
    query: float32 [dimension], or None where nothing is known of the user.
    events: the user's, oldest first, as far as they were read and say something for an item
        (`LiveRanking.counted`). acts, taste: what they say of items.
    sources: the only ones to ask; None asks those of the settings.
    moment: the one whose time of day and of the week counts; None means `at`. It is later than `at`
        where a shop of the past is asked, whose statistics are of its newest event.
    """

    model: LiveModel
    view: CatalogueView
    allowed: Mask
    filtered: bool
    query: npt.NDArray[np.float32] | None
    at: datetime
    events: tuple[HistoryEvent, ...] = ()
    acts: UserActs = NO_ACTS
    taste: Taste = NO_TASTE
    sources: frozenset[str] | None = None
    moment: datetime | None = None

    @property
    def minute(self) -> datetime:
        """The moment that ages are counted up to: the start of the minute of `at`.

        So time alone changes no list within a minute, and pages of one list continue each other;
        but a new arrival is shown from the moment on that it is published.
        """
        return minute_of(self.at)

    def days_since_publication(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Return float64 [len(rows)], 0 where no time is known or it is yet to come."""
        published = self.view.published[rows]
        ages = np.where(published > UNPUBLISHED, microseconds(self.minute) - published, 0)
        return np.maximum(ages, 0) / DAY

    def of_user(self, events: tuple[HistoryEvent, ...], acts: UserActs) -> "Context":
        """Return the context of a user of whom this is known."""
        return replace(self, events=events, acts=acts, taste=Taste.of(acts, self.view))


class CandidateSource(Protocol):
    """One way to find candidates. Safe for many threads."""

    @property
    def name(self) -> str:
        """What the answer calls it."""
        ...

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows; a longer list begins with a shorter one."""
        ...


class HistorySource(CandidateSource, Protocol):
    """A source whose scores are sums over the items of the history."""

    def contributions(self, context: Context, rows: Rows) -> Contributions:
        """Return float32 [len(context.acts), len(rows)]; summed over axis 0, the scores of `rows`.

        rows: distinct.
        """
        ...
