"""Which files are worth merging, and how long those that were merged are kept."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

KEPT = timedelta(hours=1)
"""How long a reader may hold a list of files: what was merged is removed after this time."""
FEWEST_FILES = 8
MOST_BYTES = 32 << 20
"""An erasure reads a file of one of its users whole, and writes it again."""


class Merged(NamedTuple):
    """What a merge has made one file of."""

    kind: str
    files: int
    rows: int


def count_to_merge(sizes: Sequence[int]) -> int:
    """Return how many of the first files to merge into one, given the bytes of each; or 0.

    None of them has more than the others together, so that what is merged is at least twice as
    large as any of them: a row is written again as often as the logarithm of their number.
    """
    count = total = largest = 0
    for number, size in enumerate(sizes, 1):
        total += size
        largest = max(largest, size)
        if total > MOST_BYTES:
            break
        if number >= FEWEST_FILES and 2 * largest <= total:
            count = number
    return count
