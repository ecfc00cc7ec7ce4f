"""Choose the online store by the scheme of its URL."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from feature_repo.file_urls import file_of
from feature_repo.online_features import OnlineFeatures


def open_online_features(url: str, registry: Path) -> OnlineFeatures:
    """Open `sqlite:///FILE`, `redis://[[USER]:PASSWORD@]HOST:PORT/DB` or `memory://`.

    Raises ValueError for any other scheme, or a Redis port or database that is no number.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        from feature_repo.in_memory_online_features import InMemoryOnlineFeatures

        return InMemoryOnlineFeatures()
    if parts.scheme not in ("sqlite", "redis"):
        raise ValueError(
            f"`online_url` must start with sqlite:///, redis:// or memory://. "
            f"Received: {without_password(url)!r}."
        )
    # Feast takes seconds to import.
    from feature_repo.feast_online_features import (
        FeastOnlineFeatures,
        redis_online_store,
        sqlite_online_store,
    )

    if parts.scheme == "sqlite":
        return FeastOnlineFeatures(sqlite_online_store(file_of(url)), registry, url)
    database = parts.path.strip("/") or "0"
    if not database.isdigit():
        raise ValueError(
            f"`online_url` must end with a database number. Received: {without_password(url)!r}."
        )
    try:
        port = parts.port or 6379
    except ValueError as error:
        raise ValueError(f"`online_url`: {error}. Received: {without_password(url)!r}.") from None
    store = redis_online_store(
        parts.hostname or "127.0.0.1",
        port,
        int(database),
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )
    return FeastOnlineFeatures(store, registry, without_password(url))


def without_password(url: str) -> str:
    """Return the URL with "***" in place of its password, for messages.

    It searches the text, as `urlsplit` does not find a password that holds a `#` or `/`: that may
    be why the URL is refused.
    """
    scheme, separator, rest = url.partition("://")
    login, at, server = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{scheme}{separator}{user}:***{at}{server}" if colon else url
