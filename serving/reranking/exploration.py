"""Which places of a list go to items that little is known of, and to which of them."""

import hashlib

import numpy as np
import numpy.typing as npt

from serving.item_rows import Rows

Hashes = npt.NDArray[np.uint64]

AT_A_TIME = 8_192
"""Rows are drawn from in blocks of so many, which fit into a cache of the processor."""


def explored_places(share: float, count: int, seed: str) -> npt.NDArray[np.int64]:
    """Return the places below `count` to explore in, ascending.

    One place is drawn from each stretch of 1 / share places, so that at most ceil(share * k)
    lie below any k, and share * k of them on average. All depends on `share` and `seed` alone: a
    longer list has the same places first.
    """
    if share <= 0.0:
        return np.empty(0, dtype=np.int64)
    number = int(np.ceil(share * count))
    drawn = np.arange(number) + np.random.default_rng(_number(seed)).random(number)
    # Those behind `count` are left out before they are divided: a share may be as small as a float.
    places = np.unique((drawn[drawn < share * count] / share).astype(np.int64))
    return places[places < count]


def explored_rows(rows: Rows, hashes: Hashes, count: int, seed: str) -> Rows:
    """Return up to `count` of `rows` in the order drawn.

    hashes: uint64 [num_rows], of the ids. Rows are ordered by their hash times an odd number made
    of the seed, modulo 2**64 (as in multiply-shift hashing, Dietzfelbinger et al., J. Algorithms
    1997). So one row more changes nothing between the others, and every replica draws the same.
    """
    odd = np.uint64(_number(seed) | 1)
    first = rows[:0]
    for start in range(0, len(rows), AT_A_TIME):
        some = np.concatenate([first, rows[start : start + AT_A_TIME]])
        drawn = hashes[some] * odd
        if count < len(some):
            kept = np.flatnonzero(drawn <= np.partition(drawn, count)[count])
            some, drawn = some[kept], drawn[kept]
        first = some[np.argsort(drawn)[:count]]
    return first


def _number(seed: str) -> int:
    digest = hashlib.blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
