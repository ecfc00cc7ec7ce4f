"""A Redis that makes room by removing keys: users and positions in the log would just be gone."""

from typing import Any

import structlog
from redis import RedisError

_OF_ANY_KEY = "allkeys-"
"""What policies begin with that remove keys of any kind; others remove keys that expire, and none
of ours does."""


def warn_of_eviction(client: Any, name: str) -> None:
    """Log `redis_evicts` where the Redis of `client`, which the log calls `name`, removes keys.

    Nothing is said where it does not tell: a user may be allowed no INFO.
    """
    try:
        memory = client.info("memory")
    except RedisError:
        return
    policy = str(memory.get("maxmemory_policy", ""))
    if memory.get("maxmemory") and policy.startswith(_OF_ANY_KEY):
        structlog.get_logger(__name__).warning(
            "redis_evicts", server=name, maxmemory_policy=policy, wanted="noeviction"
        )
