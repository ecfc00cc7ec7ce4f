"""When items are acted on: at which time of day and of the week, beside all other items."""

import numpy as np
import numpy.typing as npt

from serving.signals.item_signals import on_the_circles
from trainer.interactions import Interactions

PRIOR_EVENTS = 20.0
"""An item with so many events keeps half of what they say."""


def rhythms(past: Interactions) -> npt.NDArray[np.float32]:
    """Return float32 [num_items, len(RHYTHMS)], see `RHYTHMS`; 0 for items without events."""
    num_items = len(past.items)
    places = on_the_circles(past.timestamp)
    places -= places.mean(axis=0) if len(places) else 0.0
    counts = np.bincount(past.item, minlength=num_items)
    sums = [np.bincount(past.item, each, minlength=num_items) for each in places.T]
    return (np.stack(sums, axis=1) / (counts + PRIOR_EVENTS)[:, None]).astype(np.float32)
