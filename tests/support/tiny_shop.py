"""A whole shop in this process: real model, log and worker; features in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from riverrun.embedded import EmbeddedShop, embedded_shop
from riverrun.settings import load_settings
from tests.support.tiny_bundle import build_tiny_bundle


@contextmanager
def tiny_shop(home: Path, **overrides: Any) -> Iterator[EmbeddedShop]:
    """Open a shop over a tiny bundle, with some settings; its threads stop in the end."""
    settings = load_settings(home=home, online_url="memory://", **overrides)
    build_tiny_bundle(settings.bundles)
    with embedded_shop(settings) as shop:
        yield shop
