"""Who is erased while an import runs is neither in what it writes, nor counted twice."""

from datetime import timedelta
from pathlib import Path

import pytest

from feature_repo.archive import events_frame
from feature_repo.schema import Event, User
from riverrun.importing import sink
from riverrun.importing.report import ImportReport
from riverrun.importing.run import import_preset
from riverrun.importing.sink import ArchiveSink
from tests.riverrun.memory_archive import MemoryArchive, MemoryMarks
from tests.riverrun.run_import import GOOD, HEAD, NOW, run


def test_who_is_erased_while_an_import_gathers_rows_is_not_in_what_it_writes() -> None:
    archive, erased = MemoryArchive(), NOW + timedelta(days=1)
    with ImportReport() as report:
        gathering = ArchiveSink(archive, report)
        events = [
            Event(event_id=f"{user}{n}", user_id=user, item_id="i", event_type="view", timestamp=at)
            for user in "uv"
            for n, at in enumerate((NOW, NOW + timedelta(days=2)))
        ]
        report.accepted += gathering.add_events(events_frame(events), ids_given=True)
        report.accepted += gathering.add_users([User(user_id="u"), User(user_id="v")])
        archive.marks.times["u"] = int(erased.timestamp() * 1_000)
        gathering.flush()
    assert sorted(archive.events.frame["event_id"]) == ["u1", "v0", "v1"]
    assert [user.user_id for user in archive.users] == ["v"]
    assert (report.accepted, report.skipped) == (4, {"the user was erased": 2})


class ErasedMeanwhile(MemoryMarks):
    """The marks of an archive from which `u` is erased once the import has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def erased_at(self) -> dict[str, int]:
        self.asked += 1
        return {"u": int((NOW + timedelta(days=1)).timestamp() * 1_000)} if self.asked > 1 else {}


@pytest.mark.parametrize(
    ("kind", "head", "rows"),
    [("events", HEAD, [GOOD.replace("u,", f"{user},") for user in "uvuwx"]),
     ("users", "user_id", [*"uvwx"])],
)  # fmt: skip
def test_rows_of_who_is_erased_between_two_segments_are_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, head: str, rows: list[str]
) -> None:
    monkeypatch.setattr(sink, "ROWS_PER_SEGMENT", 2)
    monkeypatch.setattr(sink, "RECORDS_PER_SEGMENT", 2)
    file = tmp_path / f"{kind}.csv"
    file.write_text("\n".join([head, *rows, ""]))
    archive = MemoryArchive()
    archive.marks = ErasedMeanwhile()
    # It asserts that each row counts once.
    archive, report = run(kind, [file], archive=archive)
    assert "u" not in {*archive.events.frame["user_id"], *(user.user_id for user in archive.users)}
    assert report.accepted == 3


def test_users_that_a_preset_makes_of_its_rows_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("u\t1\t5\t880000000\nv\t1\t4\t880000000\n")
    (tmp_path / "u.item").write_text("|".join(["1", "Film (1995)", *[""] * 3, *"0" * 19]))
    (tmp_path / "u.user").write_text("u|24|M|writer|1\nv|24|F|writer|2\n")
    for marks in (MemoryMarks(), ErasedMeanwhile()):
        archive = MemoryArchive()
        archive.marks = marks
        marks.times["v"] = 0  # Before the ratings: these are kept.
        with ImportReport() as report:
            import_preset("movielens", tmp_path, ArchiveSink(archive, report))
        assert report.read == report.accepted + report.rejected.total() + report.skipped.total()
        assert report.derived["users"] == 2
    assert [user.user_id for user in archive.users] == ["v"]


def test_who_was_erased_stays_so_though_the_mark_is_dropped_meanwhile() -> None:
    archive = MemoryArchive()
    archive.marks.times["u"] = int(NOW.timestamp() * 1_000)
    with ImportReport() as report:
        gathering = ArchiveSink(archive, report)
        gathering.add_users([User(user_id="v")])
        archive.marks.times.clear()
        gathering.flush()
        gathering.add_users([User(user_id="u"), User(user_id="w")])
        gathering.flush()
    assert [user.user_id for user in archive.users] == ["v", "w"]
