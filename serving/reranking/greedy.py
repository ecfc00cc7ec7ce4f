"""One greedy pass that trades relevance for what a list as a whole should be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serving.reranking.caps import Cap

Floats = npt.NDArray[np.float64]


class Gain(Protocol):
    """What a candidate adds to the list so far, besides its relevance. Made for one list."""

    def gains(self) -> npt.NDArray[np.floating]:
        """Return float [n], finite: what each candidate would add in the next place."""
        ...

    def choose(self, candidate: int) -> None:
        """Give the next place to a candidate."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """A gain, and what it weighs: 0 leaves relevance alone, 1 the gain alone.

    weights: the same for every place, or float64 [count], of the first places in order.
    """

    weights: float | Floats
    gain: Gain


def growing(knob: float, count: int) -> Floats:
    """Return float64 [count] in 0..1, the weights of a knob that spares the first places.

    Places further down are seen less, so that it costs less to give them to another candidate. The
    weight is 0 in the first place, the knob in the eighth, and grows until the tenth.
    """
    places = np.minimum(np.arange(count), 9)
    weights: Floats = 1.0 - (1.0 - knob) ** ((places / 7) ** 3)
    return weights


def relevance_of(scores: Floats, boosts: Floats) -> Floats:
    """Return each candidate's probability over that of the best one: 0..1, above 1 by boosts alone.

    scores, boosts: float64 [n], logarithms of probabilities, and what is added to them. To boost
    one candidate leaves the relevance of the others as it is. As far as a boost lifts a candidate
    above the best score it counts by its logarithm alone, so that no cap gives way to it.
    """
    if not len(scores):
        return np.empty(0)
    beside_best = scores - scores.max() + boosts
    relevance: Floats = np.exp(np.minimum(beside_best, 0)) + np.maximum(beside_best, 0)
    return relevance


def greedy_order(
    relevance: Floats, terms: Sequence[Term], caps: Sequence[Cap], count: int
) -> Iterator[int]:
    """Yield the first `count` of n candidates; a longer list begins with a shorter one.

    relevance: float64 [n]. Each place goes to the candidate with the greatest
    Π (1 - weight) * relevance + Σ weight * gain among those over the fewest caps, the weights
    being those of the place; the earlier one in a tie. So caps give way before a place stays
    empty. caps: over the same candidates. Whoever gives the places tells them each, those between
    two candidates too: they are read anew before every choice.
    """
    count = min(count, len(relevance))
    if not terms and not caps:
        yield from np.argsort(-relevance, kind="stable")[:count].tolist()
        return
    weights = np.empty((count, len(terms)))
    for number, term in enumerate(terms):
        weights[:, number] = np.atleast_1d(term.weights)[:count]
    of_relevance = np.prod(1.0 - weights, axis=1).tolist()
    order = np.empty(count, dtype=np.int64)
    for place, of_terms in enumerate(weights.tolist()):
        values = of_relevance[place] * relevance
        for weight, term in zip(of_terms, terms, strict=True):
            if weight:
                values += weight * term.gain.gains()
        for cap in caps:
            if cap.binds:
                values -= cap.penalties
        values[order[:place]] = -np.inf
        order[place] = chosen = int(values.argmax())
        yield chosen
        if place + 1 == count:
            return  # Nothing is chosen after the last one.
        for term in terms:
            term.gain.choose(chosen)
