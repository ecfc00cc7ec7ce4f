"""The stream worker's state, as every deployment opens it."""

from riverrun.errors import UserError
from riverrun.settings import Settings
from streaming.open_stream_state import open_stream_state
from streaming.stream_state import OpenState, StateError


def open_state(settings: Settings) -> OpenState:
    """Open the state of `settings`. Raises `UserError` where it cannot be."""
    try:
        return open_stream_state(settings.stream_state_url)
    except (ValueError, StateError) as error:
        raise UserError(str(error)) from error
