"""The same list for everybody: what was published last."""

import numpy as np
import numpy.typing as npt

from feature_repo.times import DAY
from serving.catalogue_columns import UNPUBLISHED, published_of
from trainer.baselines.scorer import Indices, Scores
from trainer.interactions import Interactions

FRESH_DAYS = 3


class NewestFirst:
    """Items by time of publication, the newest first.

    Items without one come last, with those published after their user is asked. The events of
    `past` are not read.
    """

    name = "newest first"

    def __init__(
        self,
        past: Interactions,
        histories: Interactions | None = None,
        *,
        moments: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Take the moments at which users are asked, as of `Split`; else, the histories' end."""
        histories = histories or past
        if moments is None:
            newest = histories.timestamp.max(initial=0)
            moments = np.full(len(histories.user_ids), newest, np.int64)
        self._moments = moments
        self._published = _published(past)
        # By place: float32 does not tell microseconds apart.
        places = np.unique(self._published, return_inverse=True)[1]
        self._scores = (places + 1).astype(np.float32)

    def score(self, users: Indices) -> Scores:
        """Return places, the oldest's being the least; 0 for what is not published yet."""
        is_out = self._published <= self._moments[users, None]
        is_out &= self._published > UNPUBLISHED
        return np.where(is_out, self._scores, np.float32(0))


def is_of_fresh_items(past: Interactions) -> bool:
    """Return whether half of the events or more came within `FRESH_DAYS` of their item.

    So it is where people read news, and not where they buy books.
    """
    at = _published(past)[past.item]
    is_fresh = (at <= past.timestamp) & (past.timestamp < at + FRESH_DAYS * DAY)
    return len(at) > 0 and bool(is_fresh.mean() >= 0.5)


def _published(interactions: Interactions) -> npt.NDArray[np.int64]:
    """Return int64 [num_items], microseconds since 1970, or `UNPUBLISHED`."""
    return np.array([published_of(item) for item in interactions.items], np.int64)
