"""How much of what people do next each source explains: the weights of the fusion."""

import numpy as np
import numpy.typing as npt

from serving.ranking.fusion_weights import weight_vector
from serving.ranking.settings import BUILT_IN_WEIGHTS, SOURCES, Weights
from trainer.ranking.examples import Examples

Floats = npt.NDArray[np.float64]

PRIOR_REQUESTS = 50.0
"""The built-in weights count for as much as so many requests."""

SMALLEST = 1e-3
"""Weights are whole multiples of this, rounded down: what weighs less is not worth asking."""

STEPS = 500
"""EM goes on for at most so many."""

ENOUGH = 1e-7
"""Less of a change of any weight ends it."""


def calibrated_weights(examples: Examples) -> Weights | None:
    """Return the weights at which the mixture makes what was acted on most probable.

    A request counts once, what was found in it by its labels. None without any: nothing is known.
    """
    acts = examples.labels > 0
    if not acts.any():
        return None
    requests = np.repeat(np.arange(examples.num_requests), examples.sizes)[acts]
    labels = examples.labels[acts].astype(np.float64)
    counts = labels / np.bincount(requests, labels)[requests]
    prior = PRIOR_REQUESTS * weight_vector(BUILT_IN_WEIGHTS)
    found = mixture_weights(examples.opinions[acts].astype(np.float64), counts, prior)
    whole = np.floor(found / SMALLEST) * SMALLEST
    return {
        name: round(weight, 3)
        for name, weight in zip(SOURCES, whole.tolist(), strict=True)
        if weight and name != "two_tower"
    }


def mixture_weights(opinions: Floats, counts: Floats, prior: Floats) -> Floats:
    """Return float64 [num_sources], of sum 1, of the largest posterior probability.

    By EM with fixed components (Dempster, Laird and Rubin, JRSS B 1977): the share of each source
    in explaining each act, averaged, in turn with the weights that these shares are by. The
    posterior is concave in the weights, so that from within it finds the one maximum.

    opinions: [num_acts, num_sources], how probable each source held what was acted on, one of
    them at least more than 0. counts: [num_acts], how often each act counts. prior: [num_sources],
    acts that each source is held to have explained before, some of them.
    """
    weights = np.full(len(prior), 1 / len(prior))
    for _ in range(STEPS):
        explained = weights * opinions
        explained *= (counts / explained.sum(axis=1))[:, None]
        renewed = explained.sum(axis=0) + prior
        renewed /= renewed.sum()
        change = np.abs(renewed - weights).max()
        weights = renewed
        if change < ENOUGH:
            break
    return weights
