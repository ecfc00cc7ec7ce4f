"""Whatever a home is named, its stores lie in it."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.event_log import EVENTS, Message
from feature_repo.file_urls import file_of, file_url
from feature_repo.open_online_features import open_online_features
from feature_repo.schema import User
from riverrun.follower import only_follower
from riverrun.settings import load_settings
from streaming.open_event_log import open_event_log
from streaming.open_stream_state import open_stream_state

NAMES = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=8)


@given(names=st.lists(NAMES, min_size=1, max_size=3))
def test_a_path_comes_back_from_its_url(names: list[str]) -> None:
    path = Path("/", *names)
    assert file_of(file_url("log", path)) == path


@pytest.mark.parametrize("path", ["/srv/shop/log.sqlite", "/srv/my shop/ü+b,c=d.sqlite"])
def test_a_plain_path_is_its_own_url(path: str) -> None:
    assert file_of(f"log://{path}") == Path(path)


def test_stores_lie_in_their_home(tmp_path: Path) -> None:
    home = tmp_path / "ein Büro #1?%20"
    home.mkdir()
    settings = load_settings(home=home)
    with ExitStack() as stack:
        log = open_event_log(settings.event_log_url)
        stack.callback(log.close)
        log.append(EVENTS, [Message("k", b"1")])
        state = open_stream_state(settings.stream_state_url)
        stack.callback(state.close)
        online = open_online_features(settings.online_store_url, settings.registry)
        stack.callback(online.close)
        online.push([User(user_id="u")])
        stack.enter_context(only_follower(settings))
    assert {path.name for path in tmp_path.iterdir()} == {home.name}
    found = {path.name for path in home.iterdir()}
    assert found >= {"log.sqlite", "online.sqlite", "checkpoint.sqlite", "log.sqlite.lock"}


@pytest.mark.parametrize("end", ["shop#1/log.sqlite", "log.sqlite?mode=ro"])
def test_what_would_end_a_path_is_refused(tmp_path: Path, end: str) -> None:
    with pytest.raises(ValueError, match="is %23 or %3F in its URL"):
        open_event_log(f"log://{tmp_path}/{end}")
    with pytest.raises(ValueError, match="is %23 or %3F in its URL"):
        open_stream_state(f"sqlite://{tmp_path}/{end}")
    with pytest.raises(ValueError, match="is %23 or %3F in its URL"):
        open_online_features(f"sqlite://{tmp_path}/{end}", tmp_path / "registry.db")
