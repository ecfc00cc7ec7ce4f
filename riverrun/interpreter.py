"""Python's and BLAS's own settings for processes that live long and hold much."""

import gc
import sys
from importlib import import_module

from threadpoolctl import threadpool_limits

SWITCH_SECONDS = 0.0001
"""So long a thread that wants Python's lock waits before it asks for it; by default 5 ms."""

FEAST = ("feature_repo.feast_online_features", "feast.infra.offline_stores.duckdb")
HTTP = ("riverrun.http_server",)


def collect_seldom() -> None:
    """Call before modules are imported.

    Importing TensorFlow, and tracing a graph, make a million objects that stay. By default Python
    looks for cycles at every 700th of them, which takes a sixth of the seconds of an import.
    """
    gc.set_threshold(10_000, 10, 10)


def freeze_modules(*late: str) -> None:
    """Call once all modules are imported, and before a model is loaded.

    Cycles are never looked for again among what is there by then: in a server that is most of what
    Python knows of. To look for them stops every thread, which requests feel when a former model is
    freed. What is loaded later is not there for good. A model least of all: it has cycles, and
    were it frozen, its hundreds of megabytes would stay after another has replaced it.

    late: modules that are imported only where they are needed, which would be after this.
    """
    for name in late:
        import_module(name)
    gc.collect()
    gc.freeze()


def settle() -> None:
    """Call once all is loaded, before requests are answered or a stream is followed.

    Cycles are looked for seldom: histories are many small tuples, and to go through them again and
    again takes as long as their work does.

    Python's lock changes hands soon. Who makes a list lets go of it a hundred times, in every query
    of SQLite and every operation of NumPy on many numbers; beside a thread that computes, such as
    the one that loads the next model, the default would cost 5 ms each time.

    BLAS computes in the calling thread alone: the products of a request are so small that its own
    threads would wait for each other longer than they multiply.
    """
    gc.collect()
    gc.set_threshold(200_000, 20, 50)
    sys.setswitchinterval(SWITCH_SECONDS)
    threadpool_limits(limits=1, user_api="blas")
