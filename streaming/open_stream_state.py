"""Choose the state of the stream by the scheme of its URL."""

from urllib.parse import urlsplit

from feature_repo.file_urls import file_of
from feature_repo.open_online_features import without_password
from streaming.redis_state import RedisState
from streaming.sqlite_state import SqliteState
from streaming.stream_state import OpenState


def open_stream_state(url: str) -> OpenState:
    """Open `sqlite:///FILE` or `redis://HOST:PORT/DB`.

    Raises `ValueError` for any other URL, and `StateError` where it cannot be opened.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and not parts.netloc and parts.path.strip("/"):
        return SqliteState(file_of(url))
    database = parts.path.strip("/") or "0"
    if parts.scheme == "redis" and database.isdigit():
        return RedisState(url)
    raise ValueError(
        f"`state_url` must be sqlite:///FILE or redis://HOST:PORT/DB. "
        f"Received: {without_password(url)!r}."
    )
