"""On a full disk a version is neither served nor written down as served, and can be again."""

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_repo.shop_file import PassingShopFileError
from serving import published_bundles
from serving.published_bundles import CURRENT, current_version
from tests.support.tiny_bundle import build_tiny_bundle, tiny_items
from trainer.refresh.bundle_versions import promote, rollback
from trainer.refresh.runs_file import RunsFile

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def full_runs_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PassingShopFileError("runs.sqlite: cannot be used: database or disk is full.")

    monkeypatch.setattr(RunsFile, "add_promotion", fail)


def full_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

    monkeypatch.setattr(Path, "write_text", fail)


def full_as_it_is_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(published_bundles, "flush", fail)


@pytest.mark.parametrize("full", [full_runs_file, full_as_it_is_written, full_as_it_is_flushed])
@pytest.mark.parametrize("by", ["promote", "rollback"])
def test_it_serves_and_is_written_down_or_neither(
    tmp_path: Path, full: Callable[[pytest.MonkeyPatch], None], by: str
) -> None:
    first, second, third = (
        build_tiny_bundle(tmp_path, tiny_items(3), seed=number).name for number in range(3)
    )
    for number, version in enumerate((first, second, third)):
        promote(tmp_path, version, NOW + timedelta(hours=number))
    runs = RunsFile(tmp_path)
    later = NOW + timedelta(days=1)

    def change() -> None:
        if by == "promote":
            promote(tmp_path, second, later)
        else:
            rollback(tmp_path, later)

    with pytest.MonkeyPatch.context() as patch:
        full(patch)
        with pytest.raises((OSError, PassingShopFileError)) as raised:
            change()
    if isinstance(raised.value, OSError):
        assert CURRENT in raised.value.filename
    assert current_version(tmp_path) == third
    assert runs.promoted() == [third, second, first]
    assert runs.rolled_back_from() == set()
    assert not list(tmp_path.glob(f".{CURRENT}*"))
    # Once there is room again it goes back by one.
    change()
    assert current_version(tmp_path) == second
    assert runs.promoted()[0] == second
    assert runs.rolled_back_from() == ({third} if by == "rollback" else set())
