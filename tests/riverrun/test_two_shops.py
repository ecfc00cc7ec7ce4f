"""Two shops on one Redis: the second is refused by `up`, `stream` and `rebuild`."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest
import redis

from riverrun.cli.rebuild import rebuild
from riverrun.embedded import embedded_shop
from riverrun.errors import UserError
from riverrun.opening import open_state
from riverrun.settings import Settings, load_settings
from riverrun.stream_worker import stream_worker
from streaming.metrics import StreamMetrics
from tests.support.redis_server import database
from tests.support.tiny_bundle import build_tiny_bundle

PASSWORD = "not-to-be-shown"


@pytest.fixture
def url(redis_url: str) -> Iterator[str]:
    """An empty database, and a user's way to it."""
    empty = database(redis_url, 5)
    with closing(redis.Redis.from_url(empty)) as admin:
        admin.flushdb()
        admin.execute_command(
            "ACL", "SETUSER", "shop", "reset", "on", f">{PASSWORD}", "~*", "+@all"
        )
        yield empty.replace("//", f"//shop:{PASSWORD}@")
        admin.execute_command("ACL", "DELUSER", "shop")


def shop_in(home: Path, url: str) -> Settings:
    home.mkdir()
    file = home / "riverrun.toml"
    file.write_text(f'home = "{home}"\nonline_url = "memory://"\nstate_url = "{url}"\n')
    settings = load_settings(file)
    build_tiny_bundle(settings.bundles)
    return settings


def up(settings: Settings) -> AbstractContextManager[Any]:
    return embedded_shop(settings)


def stream(settings: Settings) -> AbstractContextManager[Any]:
    return stream_worker(settings, StreamMetrics())


@pytest.mark.redis
def test_the_second_shop_on_one_redis_is_refused(tmp_path: Path, url: str) -> None:
    own, other = (shop_in(tmp_path / name, url) for name in ("own", "other"))
    refusal = re.escape(f"state {url.replace(PASSWORD, '***')} is another shop's: set another")
    for start in (up, stream):
        with start(own):
            pass
    with closing(open_state(own)) as state:
        before = state.milestones()
        for start in (up, stream):
            with pytest.raises(UserError, match=f"^{refusal}"), start(other):
                pass
        with pytest.raises(UserError, match=f"^{refusal}"):
            rebuild(settings_file=other.home / "riverrun.toml")
        assert state.milestones() == before
    rebuild(settings_file=own.home / "riverrun.toml")
    with up(own):
        pass


def test_files_of_the_home_are_nobody_elses(tmp_path: Path) -> None:
    settings = shop_in(tmp_path / "own", "")
    with up(settings):
        pass
    assert not (settings.archive / "id").exists()
