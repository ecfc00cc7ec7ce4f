"""One archives at a time, and the next one takes over."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from errno import EIO, ENOSPC
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from feature_repo.event_log import EventLogError, LostPositionError
from feature_repo.exclusive_lock import exclusive
from feature_repo.shop_file import ShopFileError
from streaming.archiver import Archiver
from streaming.metrics import StreamMetrics
from streaming.retrying import Retrying
from streaming.settings import StreamingSettings
from streaming.standby_archiver import StandbyArchiver, is_archived
from tests.support import waiting

SECONDS = 10.0


class FakeArchiver:
    """Counts who archives at the same time."""

    running = 0
    most = 0

    def __init__(self, *, fails: bool = False) -> None:
        self.failure: BaseException | None = None
        self._fails = fails

    def start(self) -> None:
        FakeArchiver.running += 1
        FakeArchiver.most = max(FakeArchiver.most, FakeArchiver.running)
        if self._fails:
            self.failure = OSError("the disk is full")

    def stop(self) -> None:
        FakeArchiver.running -= 1


def standby(
    folder: Path,
    *,
    fails: bool = False,
    errors: Sequence[Exception] = (),
    metrics: StreamMetrics | None = None,
) -> StandbyArchiver:
    """errors: what making the archiver raises, one after another."""
    left = iter(errors)

    def make() -> Archiver:
        if (error := next(left, None)) is not None:
            raise error
        return cast(Archiver, FakeArchiver(fails=fails))

    settings = StreamingSettings(retry_seconds=0.01, max_retry_seconds=0.02)
    return StandbyArchiver(folder, make, Retrying(settings, metrics or StreamMetrics()))


wait_until = partial(waiting.wait_until, seconds=SECONDS)


def test_the_second_begins_when_the_first_is_gone(tmp_path: Path) -> None:
    FakeArchiver.most = 0
    first, second = standby(tmp_path), standby(tmp_path)
    assert not is_archived(tmp_path)
    first.start()
    wait_until(lambda: first.archives)
    assert is_archived(tmp_path)
    second.start()
    first.stop()
    wait_until(lambda: second.archives)
    second.stop()
    assert FakeArchiver.most == 1
    assert not is_archived(tmp_path)
    assert FakeArchiver.running == 0


def test_one_that_fails_says_so_and_makes_way(tmp_path: Path) -> None:
    broken, healthy = standby(tmp_path, fails=True), standby(tmp_path)
    broken.start()
    wait_until(lambda: broken.failure is not None)
    assert not broken.archives
    healthy.start()
    wait_until(lambda: healthy.archives)
    healthy.stop()
    broken.stop()


def test_an_archive_or_a_log_that_cannot_be_read_for_a_moment_is_waited_for(
    tmp_path: Path,
) -> None:
    errors = [OSError(EIO, "Input/output error"), EventLogError("locked"), TimeoutError("disk")]
    archiver = standby(tmp_path, errors=errors)
    archiver.start()
    wait_until(lambda: archiver.archives)
    assert archiver.failure is None
    archiver.stop()
    assert FakeArchiver.running == 0


def test_so_is_a_disk_without_room_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 2

    def once_there_is_room(file: Path) -> AbstractContextManager[None]:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(ENOSPC, "No space left on device")
        return exclusive(file)

    monkeypatch.setattr("streaming.standby_archiver.exclusive", once_there_is_room)
    metrics = StreamMetrics()
    archiver = standby(tmp_path, metrics=metrics)
    archiver.start()
    wait_until(lambda: archiver.archives)
    assert is_archived(tmp_path)
    retries = {"stage": "archive"}
    assert metrics.registry.get_sample_value("riverrun_stream_retries_total", retries) == 2
    archiver.stop()


@pytest.mark.parametrize("error", [ShopFileError("a mark"), LostPositionError("trimmed")])
def test_what_does_not_pass_is_not_waited_for(tmp_path: Path, error: Exception) -> None:
    archiver = standby(tmp_path, errors=[error])
    archiver.start()
    wait_until(lambda: archiver.failure is not None)
    assert archiver.failure is error
    archiver.stop()


def test_one_that_waits_can_be_stopped(tmp_path: Path) -> None:
    archiver = standby(tmp_path, errors=[OSError(EIO, "Input/output error")] * 10_000)
    archiver.start()
    wait_until(lambda: is_archived(tmp_path))
    archiver.stop()
    assert isinstance(archiver.failure, OSError)
    assert not is_archived(tmp_path)


def test_one_that_cannot_lock_says_so(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("no folder")
    archiver = standby(tmp_path / "archive")
    archiver.start()
    wait_until(lambda: archiver.failure is not None)
    archiver.stop()
