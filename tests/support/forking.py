"""Processes that are forked from one that has imported what they need.

Importing it takes longer than most of them live. Nothing of TensorFlow has begun in the process
that they are forked from.
"""

import multiprocessing
from multiprocessing.context import ForkServerContext

from riverrun.interpreter import FEAST, HTTP

# One list for all: who asks first decides what the process that all are forked from has imported.
# Not the command line, which looks at the outputs of its process when it is imported.
_IMPORTED = (
    "typer",
    "riverrun.embedded",
    "riverrun.refreshing",
    "trainer.refresh.running",
    *FEAST,
    *HTTP,
    "tests.support.kafka_stream",
    "tests.support.stream_process",
)


def forking() -> ForkServerContext:
    """Return the context of `multiprocessing` whose processes are forked so."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_IMPORTED])
    return context
