"""How much of what people do next each source explains: the fusion, calibrated."""

import numpy as np
import numpy.typing as npt

from serving.ranking.calibrated_fusion import CalibratedFusion, weight_vector
from serving.ranking.settings import BUILT_IN_WEIGHTS, Weights
from serving.source_names import REMAINDER, SOURCES
from trainer.ranking.examples import Examples
from trainer.ranking.opinions import TEMPERATURES

Floats = npt.NDArray[np.float64]

PRIOR_REQUESTS = 50.0
"""The built-in weights count for as much as so many requests that found one thing each."""

PRIOR_SPREAD = np.log(2.0)
"""Standard deviation of the logarithm of the temperature, before anything is known of it."""

DECIMALS = 3
"""The digits of a weight, rounded down: a source that weighs less is not worth asking."""

STEPS = 500
"""EM goes on for at most so many."""

ENOUGH = 1e-7
"""Less of a change of any weight ends it."""


def calibrated_fusion(examples: Examples) -> CalibratedFusion | None:
    """Return weights and temperature at which the mixture makes what was acted on most probable.

    What was found counts by its worth, and a request as a whole by the square root of how many
    things were found, as for the ranker. None where nothing was.

    examples: of requests in which the two-tower has a say.
    """
    worth = examples.worth
    acts = np.flatnonzero(worth)
    if not len(acts) or examples.opinions is None:
        return None
    requests = examples.requests[acts]
    worth = worth[acts].astype(np.float64)
    found = np.bincount(requests)[requests]
    counts = np.sqrt(found) * worth / np.bincount(requests, worth)[requests]
    prior = PRIOR_REQUESTS * weight_vector(BUILT_IN_WEIGHTS)
    best, chosen = -np.inf, CalibratedFusion(weights=BUILT_IN_WEIGHTS)
    for temperature in TEMPERATURES:
        opinions = examples.opinions.probabilities(temperature, acts, requests)
        weights = mixture_weights(opinions, counts, prior)
        value = log_posterior(opinions, counts, prior, weights)
        value -= 0.5 * (np.log(temperature) / PRIOR_SPREAD) ** 2
        if value > best:
            best = value
            chosen = CalibratedFusion(weights=_rounded(weights), temperature=temperature)
    return chosen


def _rounded(weights: Floats) -> Weights:
    whole = np.floor(weights * 10**DECIMALS) / 10**DECIMALS
    return {
        name: weight
        for name, weight in zip(SOURCES, whole.tolist(), strict=True)
        if weight and name != REMAINDER
    }


def log_posterior(opinions: Floats, counts: Floats, prior: Floats, weights: Floats) -> float:
    """Return the logarithm, up to a constant, of what `mixture_weights` makes largest."""
    known = prior > 0
    return float(counts @ np.log(opinions @ weights) + prior[known] @ np.log(weights[known]))


def mixture_weights(opinions: Floats, counts: Floats, prior: Floats) -> Floats:
    """Return float64 [num_sources], of sum 1, of the largest posterior probability.

    By EM with fixed components (Dempster, Laird and Rubin, JRSS B 1977): the share of each source
    in explaining each act, averaged, in turn with the weights that these shares are by. The
    posterior is concave in the weights, so that from within it finds the one maximum.

    opinions: [num_acts, num_sources], how probable each source held what was acted on, more than 0
    by at least one. counts: [num_acts], how often each act counts. prior: [num_sources], how many
    acts each source counts as having explained already, more than 0 by at least one.
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
