"""The newest items, and all others after them: an answer for whoever nothing is known of."""

from datetime import timedelta

import numpy as np

from feature_repo.times import microseconds
from serving.candidates import Candidates
from serving.catalogue_columns import UNPUBLISHED
from serving.item_rows import Rows, best
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context


class NewArrivalsSource:
    """Items by time of publication, newest first; future ones have not arrived yet."""

    name = "new_arrivals"

    def __init__(self, settings: ServingSettings) -> None:
        self._age = timedelta(days=settings.new_arrival_days)

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows that have arrived, newest first."""
        published = context.view.published
        arrived = (published > UNPUBLISHED) & (published <= microseconds(context.at))
        rows = np.flatnonzero(context.allowed & arrived[: len(context.allowed)])
        rows = rows[best(published[rows].astype(np.float64), count)]
        return Candidates(rows, np.zeros(len(rows), dtype=np.float32))

    def arrivals(self, context: Context) -> Rows:
        """Return the allowed rows that arrived within the last `new_arrival_days`."""
        published = context.view.published
        since = microseconds(context.at - self._age)
        arrived = (published >= since) & (published <= microseconds(context.at))
        return np.flatnonzero(context.allowed & arrived)


class CatalogueSource:
    """Items in the order in which they became known."""

    name = "catalogue"

    def propose(self, context: Context, count: int) -> Candidates:
        """Return the first `count` of the allowed rows."""
        rows = np.flatnonzero(context.allowed)[:count]
        return Candidates(rows, np.zeros(len(rows), dtype=np.float32))
