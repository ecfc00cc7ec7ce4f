"""A refresh reads all that an archive with a gap still has."""

import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from feature_repo.archive import Archive
from riverrun import refreshing
from riverrun.refreshing import refresh_from_archive
from riverrun.settings import Settings
from tests.support.tiny_refresh import events
from tests.support.tiny_training import START, tiny_items
from trainer.interactions import EVENT_COLUMNS
from trainer.listener import Listener
from trainer.refresh.inputs import RefreshInputs
from trainer.refresh.refresh import RefreshOutcome
from trainer.refresh.resuming import NoCheckpoint
from trainer.refresh.steps import RefreshSteps

MONTH = timedelta(days=31)


def archived(settings: Settings, *segments: pl.DataFrame) -> Archive:
    """Write the segments as an archiver does, one after another."""
    archive = Archive(settings.archive)
    archive.write_items("some", tiny_items())
    for number, segment in enumerate(segments):
        archive.events.write(f"{number:04}", segment)
    return archive


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def read_by_a_refresh(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> pl.DataFrame:
    """Return the events that a refresh would learn from."""
    read = []

    def refresh(
        events: pl.DataFrame, inputs: RefreshInputs, steps: RefreshSteps, checkpoint: NoCheckpoint
    ) -> RefreshOutcome:
        read.append(events)
        return RefreshOutcome(inputs.bundles, 0, (), ["nothing was trained"])

    monkeypatch.setattr(refreshing, "refresh", refresh)
    refresh_from_archive(settings, NoCheckpoint(), Listener())
    return read[0]


def check_same(read: pl.DataFrame, expected: Sequence[pl.DataFrame]) -> None:
    columns = [
        frame.select(EVENT_COLUMNS).sort("event_id") for frame in (read, pl.concat(expected))
    ]
    assert columns[0].equals(columns[1])


def test_a_month_without_events_hides_nothing_before_or_after_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = [events(0, 30), events(30, 60).with_columns(pl.col("timestamp") + MONTH)]
    archived(settings, *spans)
    check_same(read_by_a_refresh(settings, monkeypatch), spans)


def test_a_day_whose_folder_is_gone_takes_nothing_else_with_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each segment is of two days, and the missing one is in both."""
    archive = archived(settings, events(12, 36), events(36, 60))
    (gone,) = archive.root.glob(f"events/date={START + timedelta(days=1):%Y-%m-%d}")
    shutil.rmtree(gone)
    left = [events(12, 24), events(48, 60)]
    check_same(read_by_a_refresh(settings, monkeypatch), left)
