"""Changes to the order of a list, as pure functions over arrays."""

import hashlib

import numpy as np
import numpy.typing as npt

from serving.exact_index import dot_products
from serving.item_rows import Rows


def maximal_marginal_relevance(
    scores: npt.NDArray[np.float32],
    embeddings: npt.NDArray[np.float32],
    diversity: float,
    count: int,
) -> npt.NDArray[np.int64]:
    """Return the order of the first `count` of n candidates that trades score for difference.

    scores: float32 [n]; embeddings: float32 [n, dim]. Each place goes to the candidate with
    the greatest (1 - diversity) * relevance - diversity * (greatest cosine to those before);
    relevance is the score scaled to 0..1. Carbonell and Goldstein, SIGIR 1998.
    """
    size = len(scores)
    count = min(count, size)
    if count <= 1:
        return np.arange(count)
    spread = float(np.ptp(scores)) or 1.0
    relevance = (1.0 - diversity) * (scores - scores.min()) / spread
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    directions = (embeddings / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    nearest = np.full(size, -1.0, dtype=np.float32)
    order = np.empty(count, dtype=np.int64)
    order[0] = chosen = int(np.argmax(scores))
    relevance[chosen] = -np.inf
    for place in range(1, count):
        np.maximum(nearest, dot_products(directions, directions[chosen]), out=nearest)
        order[place] = chosen = int(np.argmax(relevance - diversity * nearest))
        relevance[chosen] = -np.inf
    return order


def explore(ranked: Rows, arrivals: Rows, share: float, seed: str) -> tuple[Rows, Rows]:
    """Return `ranked` with about `share` of its places given to arrivals, and those given.

    The draw depends on `seed` and the arguments alone; every length keeps its length.
    """
    digest = hashlib.blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    random = np.random.default_rng(int.from_bytes(digest, "big"))
    places = np.flatnonzero(random.random(len(ranked)) < share)
    drawn = random.permutation(arrivals)[: len(places)]
    places = places[: len(drawn)]
    explored = np.empty(len(ranked), dtype=np.int64)
    given = np.zeros(len(ranked), dtype=np.bool_)
    given[places] = True
    explored[given] = drawn
    others = ranked[~np.isin(ranked, drawn)]
    explored[~given] = others[: len(ranked) - len(places)]
    return explored, drawn
