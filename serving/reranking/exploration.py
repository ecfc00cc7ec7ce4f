"""Which places of a list go to items that little is known of, and to which of them."""

import hashlib

import numpy as np
import numpy.typing as npt

from serving.item_rows import Rows


def explored(rows: Rows, share: float, count: int, seed: str) -> tuple[npt.NDArray[np.int64], Rows]:
    """Return the places below `count` to explore in, ascending, and the rows in the order drawn.

    One place is drawn from each stretch of 1 / share places, so that at most ceil(share * k)
    lie below any k. All depends on `rows`, `share` and `seed` alone: a longer list has the same
    places first.
    """
    if share <= 0.0:
        return np.empty(0, dtype=np.int64), rows
    digest = hashlib.blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    random = np.random.default_rng(int.from_bytes(digest, "big"))
    # First what does not depend on `count`.
    order = random.permutation(rows)
    number = int(np.ceil(share * count))
    drawn = np.arange(number) + random.random(number)
    # Those behind `count` are left out before they are divided: a share may be as small as a float.
    places = np.unique((drawn[drawn < share * count] / share).astype(np.int64))
    return places[places < count], order
