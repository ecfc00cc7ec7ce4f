"""Commands that read an archive say which one cannot be read, in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from feature_repo.archive import Archive
from feature_repo.schema import Item
from riverrun.errors import UserError
from riverrun.evaluating import shop_question
from riverrun.readable_archive import undamaged
from riverrun.replay.replayed_period import shop_period
from riverrun.settings import Settings
from riverrun.tuning import shop_tuning
from tests.support.tiny_refresh import events
from trainer.listener import Listener


def tuned(settings: Settings) -> None:
    with shop_tuning(settings, Listener()):
        pass


@pytest.mark.parametrize("kind", ["items", "events"])
@pytest.mark.parametrize("read", [shop_question, lambda settings: shop_period(settings, 1), tuned])
def test_a_damaged_file_is_the_archives(
    read: Callable[[Settings], object], kind: str, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path)
    archive = Archive(settings.archive)
    archive.write_items("some", [Item(item_id="i")])
    archive.events.write("some", events(0, 24))
    for file in (settings.archive / kind).rglob("*.parquet"):
        file.write_bytes(b"no table at all")
    with pytest.raises(UserError, match=rf"^{settings.archive}: "):
        read(settings)


def test_what_does_more_than_read_takes_only_a_damaged_file_for_the_archives(
    tmp_path: Path,
) -> None:
    archive = Archive(tmp_path / "archive")
    with pytest.raises(ValueError, match=r"^not of a file$"), undamaged(archive):
        raise ValueError("not of a file")
    archive.write_items("some", [Item(item_id="i")])
    for file in archive.root.rglob("*.parquet"):
        file.write_bytes(b"no table at all")
    with pytest.raises(UserError, match=rf"^{archive.root}: "), undamaged(archive):
        archive.items()
