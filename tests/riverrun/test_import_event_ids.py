"""Which events an import knows again: by id and user, or by all that they say."""

from pathlib import Path

import pytest

from tests.riverrun.memory_archive import MemoryArchive
from tests.riverrun.run_import import GOOD, HEAD, run


def test_events_without_an_id_are_known_again(tmp_path: Path) -> None:
    lines = [f"u{n % 3},i{n},view,2026-01-0{1 + n % 5}T10:00:00Z" for n in range(50)]
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    header = "user_id,item_id,event_type,timestamp\n"
    first.write_text(header + "\n".join(lines[:40]) + "\n" + lines[0] + "\n")
    second.write_text(header + "\n".join(lines[20:]) + "\n")
    archive, report = run("events", [first])
    assert report.skipped == {"the same event again": 1}
    _, report = run("events", [second], archive=archive)
    assert report.skipped == {"the archive has the event": 20}
    assert archive.events.frame["event_id"].n_unique() == archive.events.frame.height == 50


@pytest.mark.parametrize("files", [[[1, 2], [3, 1]], [[1], [2, 3, 1]], [[1, 2, 3, 1]]])
def test_an_event_id_belongs_to_its_user(tmp_path: Path, files: list[list[int]]) -> None:
    """As where each device counts its own events."""
    paths = [tmp_path / f"{number}.csv" for number in range(len(files))]
    for path, devices in zip(paths, files, strict=True):
        rows = [f"{GOOD.replace('u,', f'dev{device},')},c1" for device in devices]
        path.write_text("\n".join([f"{HEAD},event_id", *rows]) + "\n")
    archive = MemoryArchive()
    reports = [run("events", [path], archive=archive)[1] for path in paths]
    assert [sum(report.accepted for report in reports), archive.events.frame.height] == [3, 3]
    assert archive.events.frame["user_id"].to_list() == ["dev1", "dev2", "dev3"]
    assert sum(report.skipped.total() for report in reports) == 1


def test_segments_of_different_users_have_names_of_their_own(tmp_path: Path) -> None:
    """Though the ids of their events are the same: one would replace the other."""
    archive = MemoryArchive()
    for user in ("dev1", "dev2"):
        file = tmp_path / f"{user}.csv"
        file.write_text(f"{HEAD},event_id\n{GOOD.replace('u,', f'{user},')},c1\n")
        run("events", [file], archive=archive)
    assert len(archive.events.segments) == 2


@pytest.mark.parametrize(
    "times",
    [
        ('timezone = "UTC"', 'timezone = "America/New_York"'),
        ('timezone = "Asia/Tokyo"', 'timezone = "UTC"'),
        ('format = "%Y-%m-%d %H:%M"', 'format = "%Y-%d-%m %H:%M"'),
    ],
)
def test_an_event_whose_time_is_corrected_is_known_by_its_id(
    tmp_path: Path, times: tuple[str, str]
) -> None:
    file = tmp_path / "events.csv"
    rows = [f"u,i,view,2025-01-0{1 + n % 5} {n:02d}:30,e{n}" for n in range(24)]
    file.write_text("\n".join([f"{HEAD},event_id", *rows]) + "\n")
    fields = [f'{name} = "{name}"\n' for name in ("user_id", "item_id", "event_type", "event_id")]
    archive = MemoryArchive()
    for read in times:
        time = f'timestamp = {{ column = "timestamp", {read} }}\n'
        _, report = run("events", [file], f"[events]\n{time}{''.join(fields)}", archive)
    assert report.skipped == {"the archive has the event": 24}
    assert archive.events.frame.height == 24
