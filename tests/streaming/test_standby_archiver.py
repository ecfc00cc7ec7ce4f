"""One archives at a time, and the next one takes over."""

from functools import partial
from pathlib import Path
from typing import cast

from streaming.archiver import Archiver
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


def standby(folder: Path, *, fails: bool = False) -> StandbyArchiver:
    return StandbyArchiver(folder, lambda: cast(Archiver, FakeArchiver(fails=fails)))


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


def test_one_that_cannot_lock_says_so(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("no folder")
    archiver = standby(tmp_path / "archive")
    archiver.start()
    wait_until(lambda: archiver.failure is not None)
    archiver.stop()
