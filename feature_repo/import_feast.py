"""Imports Feast without its side effects on the process: import this before importing Feast."""

import os
import warnings
from functools import wraps
from typing import Any

# It decides when it is imported where counters are kept: so import it before Feast tells it.
import prometheus_client  # noqa: F401
import typeguard

os.environ.setdefault("FEAST_USAGE", "False")

_typechecked: Any = typeguard.typechecked


@wraps(_typechecked)
def _typechecked_unless_feast(target: Any = None, /, **options: Any) -> Any:
    """Leave Feast's classes as they are.

    Rewriting their methods to check the types of arguments takes half of the time of importing
    Feast. Our calls are checked by mypy.
    """
    if target is not None and target.__module__.partition(".")[0] == "feast":
        return target
    return _typechecked(target, **options)


typeguard.typechecked = _typechecked_unless_feast

# Feast sets them, so that Prometheus's client keeps counters in files that the processes of Feast's
# server share. Child processes would inherit that, and add up counters that are not their own. To
# one that is set, if only to nothing, it makes no temporary folder, which a killed process leaves.
_untold = {"PROMETHEUS_MULTIPROCESS_DIR", "PROMETHEUS_MULTIPROC_DIR"} - os.environ.keys()
os.environ.update(dict.fromkeys(_untold, ""))

# Feast sets a filter of warnings for the whole process.
with warnings.catch_warnings():
    import feast  # noqa: F401

for _name in _untold:
    os.environ.pop(_name, None)
