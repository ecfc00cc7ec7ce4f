"""Python's own settings for processes that live long and hold much."""

import gc


def settle() -> None:
    """Call once all that stays is loaded, before requests are answered or a stream is followed.

    Cycles are looked for seldom, and never again among what is there for good: histories are
    many small tuples, and to go through them again and again takes as long as their work does.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)
