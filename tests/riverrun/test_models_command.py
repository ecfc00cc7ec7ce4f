"""`riverrun models`: what it says of the bundle that serves."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from rich.console import Console
from typer.testing import CliRunner

from riverrun.cli.main import app
from riverrun.cli.models import METRICS
from riverrun.errors import UserError
from serving.bundle import MANIFEST
from serving.published_bundles import set_current
from serving.ranking.calibrated_fusion import CalibratedFusion
from tests.support.tiny_bundle import build_tiny_bundle, tiny_items, tiny_ranking
from trainer.refresh.runs_file import RunsFile

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def test_it_prints_what_the_fusion_weighs_where_it_was_calibrated(tmp_path: Path) -> None:
    items, bundles = tiny_items(12), tmp_path / "bundles"
    data = tiny_ranking(12, has_ranker=False)
    older = build_tiny_bundle(bundles, items, seed=1, ranking=data)
    fusion = CalibratedFusion(weights={"ease": 0.25, "text": 0.5}, temperature=1.4)
    newer = build_tiny_bundle(bundles, items, seed=2, ranking=replace(data, fusion=fusion))

    def printed() -> str:
        command = ["models", "--home", str(tmp_path)]
        return CliRunner().invoke(app, command, catch_exceptions=False).output

    weighs = "text 0.500, two_tower 0.250, ease 0.250; temperature 1.4"
    assert f"{newer.name}: the fusion weighs {weighs}" in printed().splitlines()
    set_current(bundles, older.name)
    assert "the fusion weighs" not in printed()


@pytest.mark.parametrize(
    ("metrics", "listed", "explained"),
    [
        (
            {"all/ndcg@10": 0.25, "all/recall@20": 0.5, "all/coverage@10": 1.0}
            | {"novel/ndcg@10": 0.75},
            ["0.2500", "0.5000", "1.0000"],
            False,
        ),
        (
            {"leave-one-out/ndcg@10": 0.125, "leave-one-out/coverage@10": 0.0625},
            ["0.1250*", "0.0625*"],
            True,
        ),
        ({}, [], False),
    ],
)
def test_it_lists_the_metrics_of_either_way_to_hold_out(
    tmp_path: Path, metrics: dict[str, float], listed: list[str], *, explained: bool
) -> None:
    manifest = build_tiny_bundle(tmp_path / "bundles", tiny_items(12)) / MANIFEST
    said = orjson.loads(manifest.read_bytes()) | {"metrics": metrics}
    manifest.write_bytes(orjson.dumps(said))
    command = ["models", "--home", str(tmp_path)]
    output = CliRunner().invoke(app, command, catch_exceptions=False).output
    (row,) = (line for line in output.splitlines() if line.startswith(manifest.parent.name))
    assert [word for word in row.split() if re.match(r"[01]\.", word)] == listed
    assert ("* of users' last events" in output) == explained


def test_no_version_is_cut_off_in_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where every column is as wide as it can be."""
    parent = build_tiny_bundle(tmp_path / "bundles", seed=1)
    manifest = build_tiny_bundle(tmp_path / "bundles", seed=2) / MANIFEST
    said = orjson.loads(manifest.read_bytes())
    said |= {"num_items": 1_000_000, "parent": parent.name}
    said["data_window"] = {"start": NOW.isoformat(), "end": NOW.isoformat(), "events": 1}
    said["metrics"] = {f"leave-one-out/{name}": 0.125 for name in METRICS}
    manifest.write_bytes(orjson.dumps(said))
    set_current(parent.parent, parent.name)
    monkeypatch.setattr("riverrun.cli.models.out", Console(width=40))
    command = ["models", "--home", str(tmp_path)]
    listed = CliRunner().invoke(app, command, catch_exceptions=False).output.splitlines()
    window = "2026-05-01 to 2026-05-01 00:00"
    values = "0.1250* 0.1250*   0.1250*    "
    assert f"{manifest.parent.name} unserved 1,000,000 {window} {values} {parent.name}" in listed


@pytest.mark.parametrize("before", [True, False])
def test_the_home_may_stand_before_the_command_too(tmp_path: Path, before: bool) -> None:
    versions = []
    for shop in ("this", "other"):
        bundles = tmp_path / shop / "bundles"
        versions = [build_tiny_bundle(bundles, tiny_items(12), seed=seed).name for seed in (1, 2)]
    home = ["--home", str(tmp_path / "other")]
    command = [*home, "delete", versions[0]] if before else ["delete", versions[0], *home]
    CliRunner().invoke(app, ["models", *command], catch_exceptions=False)
    assert not (tmp_path / "other" / "bundles" / versions[0]).exists()
    assert len(list((tmp_path / "this" / "bundles").glob("*/manifest.json"))) == 2


def test_a_version_that_there_is_not_is_not_exported(tmp_path: Path) -> None:
    build_tiny_bundle(tmp_path / "bundles", tiny_items(12))
    command = ["models", "export", "nope", "--to", str(tmp_path), "--home", str(tmp_path)]
    refused = CliRunner().invoke(app, command).exception
    assert isinstance(refused, UserError)
    assert str(refused) == f"'nope' is not published in {tmp_path / 'bundles'}."


def test_where_nothing_has_served_there_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    build_tiny_bundle(tmp_path / "bundles", tiny_items(12))
    (tmp_path / "bundles" / "CURRENT").unlink()
    refused = CliRunner().invoke(app, ["models", "rollback", "--home", str(tmp_path)]).exception
    assert str(refused) == f"no bundle in {tmp_path / 'bundles'} has served."


def test_it_suggests_to_go_back_where_there_is_something_to_go_back_to(tmp_path: Path) -> None:
    home, bundles = ["--home", str(tmp_path)], tmp_path / "bundles"
    runs = RunsFile(bundles)

    def after(*command: str) -> str:
        if command:
            CliRunner().invoke(app, ["models", *command, *home], catch_exceptions=False)
        said = CliRunner().invoke(app, ["models", *home], catch_exceptions=False).output
        return said.split("next: riverrun ")[1].rsplit(" --home")[0]

    first = build_tiny_bundle(bundles, tiny_items(12), seed=1).name
    runs.add_promotion(first, NOW, "train")
    assert after() == "refresh"
    second = build_tiny_bundle(bundles, tiny_items(12), seed=2).name
    runs.add_promotion(second, NOW, "refresh a")
    assert after() == "models rollback"
    assert after("rollback") == "refresh"
    assert after("promote", second) == "refresh"
    (bundles / "CURRENT").unlink()
    assert after() == f"models promote {second}"
