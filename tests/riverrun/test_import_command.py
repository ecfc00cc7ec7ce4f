"""`riverrun sample` and `riverrun import` from the command line to the archive."""

from errno import EACCES, ENOSPC
from pathlib import Path

import orjson
import pytest
import typer
from polars.exceptions import ComputeError, SchemaError
from typer.testing import CliRunner

from feature_repo.archive import Archive
from feature_repo.exclusive_lock import exclusive
from feature_repo.schema import Item, User
from riverrun.cli import import_, sample
from riverrun.errors import RunFailedError, UserError
from riverrun.importing.sink import ArchiveSink
from tests.riverrun.run_import import GOOD, HEAD

app = typer.Typer()
app.command()(sample.sample)
app.add_typer(import_.app, name="import")

SHOP = ("--items", "200", "--users", "50", "--events", "2000", "--days", "9", "--end", "2026-03-01")


def run(*arguments: object) -> str:
    """Return what a command printed; raise what it raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, Exception):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.mark.parametrize("event_format", ["parquet", "jsonl"])
def test_a_sample_shop_goes_into_the_archive(tmp_path: Path, home: Path, event_format: str) -> None:
    shop = tmp_path / "shop"
    printed = run("sample", "--out", shop, *SHOP, "--event-format", event_format)
    assert "2,000 events" in printed
    assert f"riverrun import shop {shop}" in printed.replace("\n", "")
    for _ in range(2):
        printed = run("import", "shop", shop, "--home", home)
        assert "riverrun train" in printed
    archive = Archive(home / "archive")
    assert archive.events.scan().collect().height == 2_000
    assert (len(archive.items()), len(archive.users())) == (200, 50)
    files = list((home / "archive" / "events").glob("*/*.parquet"))
    assert len(files) == 9


def test_the_report_counts_and_the_rejects_file_tells(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("user_id\nu1\n \nu1\n")
    run("import", "users", file, "--home", home)
    (report,) = (home / "imports").glob("*-users.json")
    assert orjson.loads(report.read_bytes()) == {
        "read": 3,
        "accepted": 1,
        "rejected": {"no user_id": 1},
        "skipped": {"the same user_id again: the last counts": 1},
        "repaired": {},
        "derived": {},
    }
    (rejects,) = (home / "imports").glob("*-rejected.jsonl")
    assert orjson.loads(rejects.read_bytes())["line"] == 3


def test_an_import_that_fails_midway_reports_what_it_has_read(tmp_path: Path, home: Path) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("user_id\nu1\n \nu1\n")
    bad.write_text("customer\nu2\n")
    with pytest.raises(UserError, match="user_id") as raised:
        run("import", "users", good, bad, "--home", home)
    (path,) = (home / "imports").glob("*-users.json")
    assert str(raised.value).endswith(f". What was read before: {path}")
    report = orjson.loads(path.read_bytes())
    assert str(bad) in report["failed"]
    assert report["accepted"] == 1
    assert report["rejected"] == {"no user_id": 1}
    assert len(list((home / "imports").glob("*-rejected.jsonl"))) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ComputeError("No space left on device (os error 28)"), RunFailedError),
        (OSError(ENOSPC, "No space left on device"), RunFailedError),
        (PermissionError(EACCES, "Permission denied"), UserError),
    ],
)
def test_an_archive_that_cannot_be_written_is_one_line_and_a_report(
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[Exception],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Archive, "import_users", fail)
    file = tmp_path / "users.csv"
    file.write_text("user_id\nu1\n")
    reason = "Permission denied" if kind is UserError else "No space left on device"
    with pytest.raises(kind, match=rf"^{home}: .*{reason}") as raised:
        run("import", "users", file, "--home", home)
    (path,) = (home / "imports").glob("*-users.json")
    assert str(raised.value).endswith(f". What was read before: {path}")
    report = orjson.loads(path.read_bytes())
    assert reason in report["failed"]
    assert report["accepted"] == 1


def test_a_damaged_file_of_the_archive_does_not_pass(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "events.csv"
    file.write_text(f"{HEAD}\n{GOOD}\n")
    run("import", "events", file, "--home", home)
    (segment,) = (home / "archive" / "events").glob("*/*.parquet")
    segment.write_bytes(b"no table at all")
    with pytest.raises(UserError, match=rf"^{home / 'archive'}: cannot be read: "):
        run("import", "events", file, "--home", home)


def test_a_damaged_mark_of_an_erasure_does_not_pass(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where it is damaged by the time that rows are written: who was erased stays so."""
    file, archive = tmp_path / "users.csv", Archive(home / "archive")
    file.write_text("user_id\nu1\nu2\n")
    archive.marks.write(0, {"u1": 7}, {"u1": 1_000})
    mark = home / "archive" / "erasures" / "00000.json"
    before = mark.read_bytes()
    mark.write_bytes(before[:8])
    with pytest.raises(
        UserError, match=rf"^{mark}: cannot be used: .* from a copy of the archive.$"
    ):
        run("import", "users", file, "--home", home)
    mark.write_bytes(before)
    add_users = ArchiveSink.add_users

    def damaged_meanwhile(sink: ArchiveSink, users: list[User]) -> int:
        mark.write_bytes(before[:8])
        return add_users(sink, users)

    monkeypatch.setattr(ArchiveSink, "add_users", damaged_meanwhile)
    with pytest.raises(UserError, match=rf"^{mark}: cannot be used: .* What was read before: "):
        run("import", "users", file, "--home", home)
    assert archive.users() == []


def test_a_fault_of_the_program_keeps_its_traceback(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SchemaError("of users")

    monkeypatch.setattr(Archive, "import_users", fail)
    file = tmp_path / "users.csv"
    file.write_text("user_id\nu1\n")
    with pytest.raises(SchemaError, match=r"^of users$"):
        run("import", "users", file, "--home", home)


def test_an_import_that_fails_before_it_reads_reports_nothing(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("customer\nu2\n")
    with pytest.raises(UserError, match="user_id"):
        run("import", "users", file, "--home", home)
    assert list((home / "imports").iterdir()) == []


def test_a_catalogue_that_is_imported_again_counts_again(tmp_path: Path, home: Path) -> None:
    for price in (10, 5, 10):
        file = tmp_path / f"products-{price}.csv"
        file.write_text(f"item_id,price\na,{price}\n")
        run("import", "items", file, "--home", home)
        assert Archive(home / "archive").items() == [Item(item_id="a", price=price)]


def test_a_catalogue_of_which_nothing_is_new_is_told_apart(tmp_path: Path, home: Path) -> None:
    untold, told, partly = (tmp_path / f"{name}.csv" for name in ("untold", "told", "partly"))
    untold.write_text("item_id\na\n")
    told.write_text("item_id,published_at\nb,2026-01-02\n")
    partly.write_text("item_id,published_at\nc,\nd,2026-01-02\n")
    hint = "hint: no item of a file has `published_at`: none counts as new"
    for files, hints in (((untold,), 1), ((told, untold, untold), 1), ((told, partly), 0)):
        assert run("import", "items", *files, "--home", home).count(hint) == hints
    refused = tmp_path / "refused.csv"
    refused.write_text("item_id\n \n")
    assert hint not in run("import", "items", refused, told, "--home", home)


def test_imports_go_one_at_a_time(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("user_id\nu1\n")
    (home / "archive").mkdir(parents=True)
    with (
        exclusive(home / "archive" / "import.lock"),
        pytest.raises(RunFailedError, match="another import fills") as raised,
    ):
        run("import", "users", file, "--home", home)
    assert "\n" not in str(raised.value)
    assert Archive(home / "archive").users() == []
    run("import", "users", file, "--home", home)
    assert len(Archive(home / "archive").users()) == 1


def test_beside_a_worker_it_says_when_what_was_imported_counts(tmp_path: Path, home: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("user_id\nu1\n")
    second.write_text("user_id\nu2\n")
    assert "is started again" not in run("import", "users", first, "--home", home)
    with exclusive(home / "archive" / "lock"):  # As who archives what it reads holds it.
        assert "is started again" in run("import", "users", second, "--home", home)


def test_an_import_without_a_usable_row_fails(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("user_id\n \n")
    with pytest.raises(UserError, match="no row could be used: no user_id"):
        run("import", "users", file, "--home", home)


def test_a_data_set_without_a_row_fails(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "retail.csv"
    names = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    file.write_text(f"{names}\n")
    with pytest.raises(UserError, match="no row could be used: there is none"):
        run("import", "preset", "online-retail", file, "--home", home)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "--out", "x", "--items", "5"), "--items"),
        (("sample", "--out", "x", "--end", "soon"), "Received: 'soon'"),
        (("sample", "--out", "/dev/null/x"), "cannot write to /dev/null/x"),
        (("import", "items", "absent.csv"), "absent.csv: no such file"),
        (
            ("import", "users", "users.csv", "--home", "/dev/null/x"),
            "/dev/null/x: cannot be written",
        ),
        (("import", "shop", "absent"), "absent: no such folder"),
        (("import", "preset", "netflix", "absent"), "Known: online-retail"),
        (("import", "items", "a.csv", "--mapping", "absent.toml"), "absent.toml: no such file"),
    ],
)
def test_what_a_person_can_put_right_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("users.csv").write_text("user_id\nu1\n \n")
    with pytest.raises(UserError) as raised:
        run(*arguments)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("command", ["items", "users", "events", "preset", "shop"])
def test_every_command_teaches_with_an_example(command: str) -> None:
    assert f"riverrun import {command}" in " ".join(run("import", command, "--help").split())


def test_types_of_event_that_no_setting_weighs_are_named(tmp_path: Path, home: Path) -> None:
    file, settings = tmp_path / "events.csv", tmp_path / "riverrun.toml"
    types = ("view", "purchase", "Read", "impression", "hide")
    rows = [f"u1,i1,{name},2026-01-0{day}" for day, name in enumerate(types, start=1)]
    file.write_text("\n".join(["user_id,item_id,event_type,timestamp", *rows]))

    def hint(weights: str) -> str:
        settings.write_text(weights)
        printed = run("import", "events", file, "--home", home, "--settings", settings)
        return printed.partition("hint: no setting weighs ")[2].partition(" may say")[0]

    assert hint("") == (
        "events of type hide, impression, read: each counts 1, as a view does. "
        "training.event_type_weights and training.ranking.event_type_weights"
    )
    some = "[training.event_type_weights]\nimpression = 0\nhide = 0\n"
    # Also where the events are known by now.
    assert hint(some).startswith("events of type read: each counts 1")
    every = some + "[training.ranking.event_type_weights]\nread = 3\nview = 1\npurchase = 5\n"
    assert hint(every) == ""
    assert hint(some + "read = 1") == ""


def test_no_more_types_are_named_than_can_be_read(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "events.csv"
    rows = [f"u1,i1,kind{number:02},2026-01-01" for number in range(40)]
    file.write_text("\n".join(["user_id,item_id,event_type,timestamp", *rows]))
    printed = run("import", "events", file, "--home", home)
    assert "kind08, kind09 and others: each" in printed
    assert "kind10" not in printed
