"""Who learns from an embedded log is alone, from the very first start on."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from riverrun.embedded import embedded_shop
from riverrun.errors import UserError
from riverrun.follower import only_follower
from riverrun.server import serving_replica
from riverrun.settings import Settings, load_settings
from riverrun.stream_worker import stream_worker
from streaming.metrics import StreamMetrics
from streaming.open_event_log import open_event_log


def settings_of(folder: Path) -> Settings:
    return load_settings(home=folder / "home", log_url=f"log://{folder}/new/folder/log.sqlite")


def test_the_first_start_in_a_folder_that_is_made_for_it_keeps_others_away(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with only_follower(settings):
        open_event_log(settings.event_log_url).close()
        with (
            pytest.raises(UserError, match="another process learns from"),
            only_follower(settings),
        ):
            pass
    with only_follower(settings):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("a file")
    settings = settings_of(tmp_path)
    with (
        pytest.raises(UserError, match=r"folder/log\.sqlite: its lock cannot be made"),
        only_follower(settings),
    ):
        pass


@pytest.mark.parametrize(
    "opened",
    [embedded_shop, serving_replica, lambda settings: stream_worker(settings, StreamMetrics())],
)
def test_a_home_without_a_bundle_is_not_made_and_neither_is_its_log(
    opened: Callable[[Settings], AbstractContextManager[Any]], tmp_path: Path
) -> None:
    with (
        pytest.raises(UserError, match="no bundle has been published"),
        opened(settings_of(tmp_path)),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
