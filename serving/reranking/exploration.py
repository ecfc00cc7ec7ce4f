"""Which places of a list go to items that little is known of, and to which of them."""

import hashlib

import numpy as np
import numpy.typing as npt

from serving.item_rows import Rows


def exploration_places(share: float, count: int, seed: str) -> npt.NDArray[np.int64]:
    """Return the places below `count` to explore in, ascending; at most ceil(share * k) below k.

    One is drawn from each stretch of 1 / share places. They depend on `share` and `seed`
    alone: a longer list has the same ones first.
    """
    if share <= 0.0:
        return np.empty(0, dtype=np.int64)
    number = int(np.ceil(share * count))
    stretches = np.arange(number) + _generator(seed, "places").random(number)
    places = np.unique((stretches / share).astype(np.int64))
    return places[places < count]


def exploration_order(rows: Rows, seed: str) -> Rows:
    """Return the rows in a random order that depends on them and `seed` alone."""
    return _generator(seed, "rows").permutation(rows)


def _generator(seed: str, purpose: str) -> np.random.Generator:
    text = f"{purpose}:{seed}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
