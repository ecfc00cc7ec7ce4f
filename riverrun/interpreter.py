"""Python's and BLAS's own settings for processes that live long and hold much."""

import gc
import sys

from threadpoolctl import threadpool_limits

SWITCH_SECONDS = 0.0001
"""So long a thread that wants Python's lock waits before it asks for it; by default 5 ms."""


def settle() -> None:
    """Call once all that stays is loaded, before requests are answered or a stream is followed.

    Cycles are looked for seldom, and never again among what is there for good: histories are
    many small tuples, and to go through them again and again takes as long as their work does.

    Python's lock changes hands soon. Who makes a list lets go of it a hundred times, in every query
    of SQLite and every operation of NumPy on many numbers; beside a thread that computes, such as
    the one that loads the next model, the default would cost 5 ms each time.

    A product of matrices stays in its thread. Those of a request are small: BLAS's own threads
    would turn round waiting for each other longer than they multiply.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)
    sys.setswitchinterval(SWITCH_SECONDS)
    threadpool_limits(limits=1, user_api="blas")
