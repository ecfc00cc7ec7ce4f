"""Settings of Python and BLAS for processes that run for long and hold many objects."""

import gc
import sys
from importlib import import_module

from threadpoolctl import threadpool_limits

SWITCH_SECONDS = 0.0001
"""How long a thread that wants Python's lock waits before it asks for it; the default is 5 ms."""

FEAST = ("feature_repo.feast_online_features", "feast.infra.offline_stores.duckdb")
HTTP = ("riverrun.http_server",)


def collect_seldom() -> None:
    """Call before modules are imported.

    Importing TensorFlow, and tracing a graph, make a million objects that stay. By default Python
    looks for cycles at every 700th new object, which takes a sixth of the time of an import.
    """
    gc.set_threshold(10_000, 10, 10)


def freeze_modules(*late: str) -> None:
    """Call once all modules are imported, and before a model is loaded.

    Python never again looks for cycles among the objects that exist by then, which are most of
    those of a server. Looking for them stops every thread, which slows requests when a former model
    is freed. Objects that are loaded later may be freed again. Models above all: they have cycles,
    and the hundreds of megabytes of a frozen one would stay after another has replaced it.

    late: modules that would be imported only when they are needed, after this call; they are
        imported now.
    """
    for name in late:
        import_module(name)
    gc.collect()
    gc.freeze()


def settle() -> None:
    """Call once all is loaded, before requests are answered or a stream is followed.

    Python then seldom looks for cycles: histories are many small tuples, and going through them
    again and again takes as long as the work on them.

    Python's lock changes hands soon. A thread that makes a list releases it a hundred times, in
    every query of SQLite and every operation of NumPy on many numbers; beside a thread that
    computes, such as the one that loads the next model, the default would cost 5 ms each time.

    BLAS computes in the calling thread alone: the products of a request are so small that its own
    threads would wait for each other longer than they multiply.
    """
    gc.collect()
    gc.set_threshold(200_000, 20, 50)
    sys.setswitchinterval(SWITCH_SECONDS)
    threadpool_limits(limits=1, user_api="blas")
