"""The contract of what proposes candidates for one request."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from feature_repo.history import HistoryEvent
from serving.catalogue import CatalogueView
from serving.item_rows import Mask, Rows
from serving.live_model import LiveModel


class Candidates(NamedTuple):
    """Proposed rows, best first, with scores float32 [n] comparable within one source."""

    rows: Rows
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What one request is answered from.

    allowed: bool [num_rows], what may be shown. filtered: whether a filter narrowed it.
    query: float32 [dimension], or None where nothing is known of the user. events: the user's,
        oldest first, as far as they were read.
    """

    model: LiveModel
    view: CatalogueView
    allowed: Mask
    filtered: bool
    query: npt.NDArray[np.float32] | None
    at: datetime
    events: tuple[HistoryEvent, ...] = ()


class CandidateSource(Protocol):
    """One way to find candidates. Safe for many threads."""

    @property
    def name(self) -> str:
        """What the answer calls it."""
        ...

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows; more of them follow after the same first."""
        ...


NOTHING = Candidates(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
