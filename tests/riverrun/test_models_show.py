"""`riverrun models show`: how a version was judged, long after the refresh that made it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from riverrun.cli.main import app
from riverrun.cli.metrics_tables import metrics_table
from riverrun.errors import UserError
from serving.bundle import MANIFEST, Manifest, read_manifest
from tests.support.tiny_bundle import CREATED_AT, build_tiny_bundle
from trainer.evaluate import EvaluationRow
from trainer.refresh.bundle_versions import promote
from trainer.refresh.notes import BundleChecks, Choice, Notes
from trainer.refresh.refresh import RefreshOutcome
from trainer.refresh.resuming import RefreshCheckpoint
from trainer.refresh.running import run_refresh
from trainer.refresh.runs_file import RunsFile

ROWS = tuple(
    EvaluationRow(scorer, task, users, {"ndcg@10": value, "coverage@10": 0.5})
    for task, users in (("all", 120), ("novel", 40))
    for scorer, value in (("popularity", 0.125), ("current bundle", 0.25), ("all together", 0.1))
)
NOTES = Notes(
    choice=Choice(3, ROWS, has_ranker=False, fusion=None, no_ranker="no [ranker]: too few users."),
    checks=BundleChecks(index_recall=0.875, latency_ms=3.25),
    left_open="the gates of novel were not asked: it has 40 users.",
)
REASON = "all/ndcg@10 is 0.1000, and max_loss asks for 0.2250 or more: the [current] bundle has it."


def refused(home: Path, *reasons: str, notes: Notes = NOTES) -> Manifest:
    """Return what a refresh has published of this shop, for these reasons not to serve."""
    bundle = build_tiny_bundle(home / "bundles", seed=2, current=False)
    manifest = read_manifest(bundle)

    def work(checkpoint: RefreshCheckpoint, begin: Callable[[str], None]) -> RefreshOutcome:
        checkpoint.notes = replace(notes, version=bundle.name)
        return RefreshOutcome(bundle, 3, ROWS, reasons, left_open=notes.left_open)

    run_refresh(home / "bundles", home / "training", "may", work, keep=5, clock=lambda: CREATED_AT)
    return manifest


def shown(home: Path, version: str) -> list[str]:
    command = ["models", "show", version, "--home", str(home)]
    return CliRunner().invoke(app, command, catch_exceptions=False).output.splitlines()


def as_refresh_prints(rows: Any) -> list[str]:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(metrics_table(rows[0].task, rows))
    return [line.rstrip() for line in captured.get().splitlines() if line.strip()]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_a_refused_version_is_shown_beside_what_it_was_compared_with(tmp_path: Path) -> None:
    build_tiny_bundle(tmp_path / "bundles", seed=1)
    manifest = refused(tmp_path, REASON, "another reason.")
    said = [line.rstrip() for line in shown(tmp_path, manifest.version)]
    assert said[0] == f"{manifest.version}: refused"
    tables = [*as_refresh_prints(ROWS[:3]), *as_refresh_prints(ROWS[3:])]
    assert [line for line in said if line in tables] == tables
    window = manifest.data_window
    for fact in (
        f"events        {window.events:,}",
        "parent        none",
        "run           may, refused",
        "epochs        3",
        "ranker        no [ranker]: too few users.",
        "index recall  0.875",
        "latency       3.2 ms for a query",
        NOTES.left_open,
        f"refused: {REASON} another reason.",
    ):
        assert fact in said, said
    assert f"riverrun models promote {manifest.version} --home" in said[-1]


def test_what_is_promoted_all_the_same_still_says_why_it_was_refused(tmp_path: Path) -> None:
    version = refused(tmp_path, REASON).version
    promote(tmp_path / "bundles", version, CREATED_AT)
    said = shown(tmp_path, version)
    assert said[0] == f"{version}: serving"
    assert f"refused: {REASON}" in said


def test_what_is_published_says_which_gates_were_left_open(tmp_path: Path) -> None:
    """Also where an earlier version of this program has noted less."""
    version = refused(tmp_path, notes=replace(NOTES, checks=None, left_open="")).version
    RunsFile(tmp_path / "bundles").finish(
        "may", "published", CREATED_AT, version, "[max_loss] was not asked."
    )
    said = shown(tmp_path, version)
    assert "[max_loss] was not asked." in said
    assert not any(line.startswith(("refused", "latency")) for line in said)


@pytest.mark.parametrize("stored", [None, '{"choice": "of another version"}'])
def test_where_the_comparison_is_not_kept_the_metrics_of_the_bundle_are(
    tmp_path: Path, stored: str | None
) -> None:
    version = refused(tmp_path).version
    manifest = tmp_path / "bundles" / version / MANIFEST
    made = Manifest.model_validate_json(manifest.read_bytes())
    with_metrics = made.model_copy(update={"metrics": {"all/ndcg@10": 0.25}})
    manifest.write_text(with_metrics.model_dump_json())
    if stored is None:
        (tmp_path / "bundles" / "runs.sqlite").unlink()
    else:
        RunsFile(tmp_path / "bundles").write_notes("may", stored)
    said = " ".join(" ".join(shown(tmp_path, version)).split())
    assert "all/ndcg@10 0.2500" in said
    assert "what it was compared with is not kept" in said
    # A damaged one, too, is shown as far as it can be read.
    manifest.write_text("{")
    assert "broken: its manifest cannot be read" in shown(tmp_path, version)


def test_a_version_that_there_is_not_is_not_shown(tmp_path: Path) -> None:
    build_tiny_bundle(tmp_path / "bundles")
    command = ["models", "show", "nope", "--home", str(tmp_path)]
    with pytest.raises(UserError, match="'nope' is not published in"):
        CliRunner().invoke(app, command, catch_exceptions=False)
