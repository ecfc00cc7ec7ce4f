"""Python's and BLAS's own settings for processes that live long and hold much."""

import gc

from threadpoolctl import threadpool_limits


def settle() -> None:
    """Call once all that stays is loaded, before requests are answered or a stream is followed.

    Cycles are looked for seldom, and never again among what is there for good: histories are
    many small tuples, and to go through them again and again takes as long as their work does.

    A product of matrices stays in its thread. Those of a request are small: BLAS's own threads
    would turn round waiting for each other longer than they multiply.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)
    threadpool_limits(limits=1, user_api="blas")
