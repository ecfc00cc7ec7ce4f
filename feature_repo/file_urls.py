"""URLs of files: a path may hold characters that mean something in a URL."""

import os
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit


def file_url(scheme: str, file: Path) -> str:
    """Return the URL of an absolute path, as sqlite:///srv/shop%231/online.sqlite."""
    return f"{scheme}://{quote(os.fsencode(file))}"


def file_of(url: str) -> Path:
    """Return the path that a URL names.

    Raises `ValueError` for a URL that ends at a # or ?, which a path has as %23 and %3F.
    """
    parts = urlsplit(url)
    if parts.fragment or parts.query:
        raise ValueError(f"a # or ? in a path is %23 or %3F in its URL. Received: {url!r}.")
    return Path(os.fsdecode(unquote_to_bytes(parts.path)))
