"""What must be so before Feast is imported; who imports Feast imports this first."""

import os
from functools import wraps
from typing import Any

# Feast tells Prometheus's client to keep the counters of whoever imports it later in files that
# processes share.
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
