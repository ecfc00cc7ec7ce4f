"""The event log, the online store and the worker's state, as every deployment opens them.

Each raises `UserError` where it cannot be opened, or where its URL is none, and `RunFailedError`
where a server does not answer.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from feature_repo.archive import Archive
from feature_repo.event_log import EventLogError, GroupedLog
from feature_repo.online_features import OnlineFeatures
from feature_repo.open_online_features import open_online_features, without_password
from riverrun.errors import failed_by
from riverrun.settings import Settings
from streaming.open_event_log import open_event_log
from streaming.open_stream_state import open_stream_state
from streaming.shop_identity import require_own_state
from streaming.stream_state import OpenState, StateError


def open_log(settings: Settings) -> GroupedLog:
    """Open the event log of `settings`; it connects to a Kafka only when it is first used."""
    with _refused():
        return open_event_log(settings.event_log_url, settings.streaming.kafka)


def open_online(settings: Settings) -> OnlineFeatures:
    """Open the online store of `settings`."""
    with _refused():
        return open_online_features(settings.online_store_url, settings.registry)


def open_state(settings: Settings) -> OpenState:
    """Open the state of the stream worker of `settings`."""
    with _refused():
        return open_stream_state(settings.stream_state_url)


def require_own_shop(settings: Settings, state: OpenState) -> None:
    """Raise `ForeignShop` where the state is another shop's, and `StateError`.

    A file in the home is nobody else's. A server may be, and the store asks the state whose it is.
    """
    if settings.state_is_remote or settings.online_is_remote:
        name = f"state {without_password(settings.stream_state_url)}"
        require_own_state(state, Archive(settings.archive), name)


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except (ValueError, EventLogError, StateError) as error:
        raise failed_by(error) from error
