"""Stateless randomness: the same key always gives the same number.

A user's tastes are computed where they are needed, so that a hundred million users need no memory.
"""

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]


def generator(seed: int, *stream: int) -> np.random.Generator:
    """Return a generator that draws the same numbers for the same (seed, stream)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *stream])))


def uniform(seed: int, purpose: int, *keys: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return uniform numbers in [0, 1), one for each row of the keys (splitmix64)."""
    with np.errstate(over="ignore"):
        state = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(purpose)
        mixed = np.full(keys[0].shape, _mix(np.asarray(state)), dtype=np.uint64)
        for key in keys:
            mixed = _mix(mixed ^ (key.astype(np.uint64) * np.uint64(0xD1342543DE82EF95)))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(value: UInt64s) -> UInt64s:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
