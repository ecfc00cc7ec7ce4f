"""`riverrun refresh`, the refresh itself left out."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from feature_repo.archive import Archive
from riverrun import refreshing
from riverrun.cli.refresh import refresh
from tests.support.stream import event, item
from tests.support.tiny_bundle import CREATED_AT, build_tiny_bundle
from trainer.refresh.bundle_versions import rollback
from trainer.refresh.refresh import RefreshOutcome


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return the folder of a shop that has something to learn from."""
    archive = Archive(tmp_path / "archive")
    archive.write_items("some", [item(1)])
    archive.events.write("some", [event(1)])
    return tmp_path


def test_a_run_that_was_published_before_is_not_said_to_serve(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundles = home / "bundles"

    def printed(run_id: str) -> str:
        refresh(run_id=run_id, home=home)
        return " ".join(capsys.readouterr().err.split())

    def publish_in(year: int) -> str:
        def work(*_: object) -> RefreshOutcome:
            made = CREATED_AT.replace(year=year)
            return RefreshOutcome(build_tiny_bundle(bundles, created_at=made), 1, ())

        monkeypatch.setattr(refreshing, "refresh_from_archive", work)
        return printed(str(year))

    assert "run 2026: bundle 2026" in publish_in(2026)
    assert "serves" in publish_in(2027)
    rollback(bundles, datetime.now(UTC))
    again = printed("2027")
    assert "run 2027 has ended before: bundle 2027" in again
    assert "was published." in again
    assert " serves" not in again


def test_each_reason_of_a_refusal_is_a_line_as_it_is(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reasons = ("[a] all/ndcg@10 is too small, " * 5 + "and that is all.", "[/b] another")

    def work(*_: object) -> RefreshOutcome:
        return RefreshOutcome(build_tiny_bundle(home / "bundles"), 1, (), reasons)

    monkeypatch.setattr(refreshing, "refresh_from_archive", work)
    with pytest.raises(typer.Exit):
        refresh(home=home)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("refused: ")] == [
        f"refused: {reason}" for reason in reasons
    ]
