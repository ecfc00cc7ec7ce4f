"""What the HTTP edge needs of the process it runs in; a composition root fills it in."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from prometheus_client import CollectorRegistry

from feature_repo.event_log import EventLog, TopicPartition
from feature_repo.online_features import FeatureReader
from serving.catalogue import Catalogue
from serving.live_model import ModelHolder
from serving.recommender import Recommender
from serving.settings import HttpSettings, ServingSettings

MAX_RECORD_BYTES = 512 * 2**10
"""Half of Kafka's default limit, as dead letters and item changes are longer than their records."""


class Applied(Protocol):
    """Knows how far the worker of this process has come."""

    def expect(
        self, positions: Mapping[TopicPartition, int]
    ) -> AbstractContextManager["Future[None]"]:
        """Give a future that is done once all records before `positions` are applied."""
        ...


@dataclass(frozen=True, slots=True)
class Effects:
    """Tells when what was accepted has taken effect, where the worker runs in this process.

    indexed: tells whether lists reflect all item changes before given positions. wait_seconds: how
    long a request waits at most.
    """

    applied: Applied
    indexed: Callable[[Mapping[TopicPartition, int]], bool] = lambda _: True
    wait_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Which records are accepted.

    max_future: an event further ahead of the clock is rejected.
    event_types: the types that are accepted; empty accepts every type.
    max_record_bytes: a record that is longer is rejected: the log would not take it.
    """

    max_future: timedelta = timedelta(days=1)
    event_types: frozenset[str] = frozenset()
    max_record_bytes: int = MAX_RECORD_BYTES


@dataclass(frozen=True, slots=True)
class Health:
    """Says how the process is, each time it is asked.

    not_ready: why requests cannot be answered yet; empty where they can.
    bundle_error: why the newest bundle does not serve; None where it does.
    degraded: what lists do without at present, though they are answered.
    """

    not_ready: Callable[[], Sequence[str]] = lambda: ()
    bundle_error: Callable[[], str | None] = lambda: None
    degraded: Callable[[], Sequence[str]] = lambda: ()

    def complaints(self) -> list[str]:
        """Say what is wrong though lists are answered."""
        refused = self.bundle_error()
        of_bundle = [] if refused is None else [f"another bundle was refused: {refused}"]
        return [*self.degraded(), *of_bundle]


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a request may need.

    version: of the software, which the OpenAPI document names.
    online_is_remote: whether `online` asks a server, which takes its time and may hang.
    effects: None where the worker runs in another process, so that nobody can wait for it.
    append_seconds: how long the log takes at most for what it is given; None where it is not known.
    """

    recommender: Recommender
    holder: ModelHolder
    catalogue: Catalogue
    online: FeatureReader
    log: EventLog
    version: str
    online_is_remote: bool = False
    effects: Effects | None = None
    append_seconds: float | None = None
    acceptance: Acceptance = Acceptance()
    health: Health = Health()
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    http: HttpSettings = field(default_factory=HttpSettings)
    serving: ServingSettings = field(default_factory=ServingSettings)
