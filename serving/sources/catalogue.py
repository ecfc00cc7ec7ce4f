"""The whole catalogue: what is left where no other source fills the list."""

import numpy as np

from serving.candidates import Candidates
from serving.sources.candidate_source import Context


class CatalogueSource:
    """Items in the order in which they became known."""

    name = "catalogue"

    def propose(self, context: Context, count: int) -> Candidates:
        """Return the first `count` of the allowed rows."""
        rows = np.flatnonzero(context.allowed)[:count]
        return Candidates(rows, np.zeros(len(rows), dtype=np.float32))
