"""Imports Feast without what it does to the whole process; who imports Feast imports this first."""

import os
import warnings
from functools import wraps
from typing import Any

# It looks once, when it is imported, where counters are to be kept: before Feast tells it.
import prometheus_client  # noqa: F401
import typeguard

os.environ.setdefault("FEAST_USAGE", "False")

_typechecked: Any = typeguard.typechecked


@wraps(_typechecked)
def _typechecked_unless_feast(target: Any = None, /, **options: Any) -> Any:
    """Leave Feast's classes as they are.

    To rewrite each of their methods, so that it checks the types of its arguments, takes half of
    the seconds that importing Feast does. Our calls are checked by mypy.
    """
    if target is not None and target.__module__.partition(".")[0] == "feast":
        return target
    return _typechecked(target, **options)


typeguard.typechecked = _typechecked_unless_feast

_untold = {"PROMETHEUS_MULTIPROCESS_DIR", "PROMETHEUS_MULTIPROC_DIR"} - os.environ.keys()

# It sets a filter of warnings for everybody.
with warnings.catch_warnings():
    import feast  # noqa: F401

# Feast tells Prometheus's client to keep counters in files that the processes of its own server
# share. Every process that is started from here would do so too, and add up what is not one's own.
for _name in _untold:
    os.environ.pop(_name, None)
