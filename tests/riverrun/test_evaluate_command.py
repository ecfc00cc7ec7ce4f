"""What `riverrun evaluate` refuses before it spends minutes, and the shape of its table."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
import tensorflow as tf
from rich.console import Console

from feature_repo.archive import Archive
from riverrun.bench.machine import describe_machine
from riverrun.cli.main import main
from riverrun.cli.metrics_tables import metrics_table
from riverrun.errors import UserError
from riverrun.evaluating import Question, evaluate_models, preset_question, shop_question
from riverrun.importing import PresetData
from riverrun.protocols import PROTOCOLS
from riverrun.settings import Settings
from serving.settings import ServingSettings
from tests.support.few_events import ITEMS, START, frame
from tests.support.tiny_bundle import build_tiny_bundle, of_an_earlier_release, tiny_ranking
from tests.support.tiny_refresh import events
from tests.support.tiny_training import tiny_items
from trainer.evaluate import EvaluationRow
from trainer.ranking.service_settings import ServiceSettings
from trainer.refresh.gate_settings import BASELINES, OF_RETURNS
from trainer.settings import TrainingSettings
from trainer.tasks import temporal_split


def run(monkeypatch: pytest.MonkeyPatch, home: Path, *arguments: str) -> int:
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setattr("sys.argv", ["riverrun", "evaluate", "--home", str(home), *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "online-retail"], "--preset needs --data"),
        (["--data", "file.csv"], "--data needs --preset"),
        (["--validation"], "--validation needs --preset"),
        (["--preset", "icecat", "--data", "x"], "--preset 'icecat' has no evaluation protocol"),
        (["--preset", "online-retail", "--data", "absent.csv"], "absent.csv: no such file"),
        (["--served", "--preset", "online-retail"], "leave out --preset"),
        (["--served"], "serves no bundle. To make one: riverrun train --home"),
        (["--json", "absent/table.json"], "must be a file in a folder that exists"),
        ([], "`riverrun import` brings them in"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    assert run(monkeypatch, tmp_path / "home", *arguments) == 2
    printed = capsys.readouterr()
    # A terminal breaks long lines anywhere.
    assert message in " ".join(printed.err.split())
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_nobody_is_asked_about_what_is_still_to_come(tmp_path: Path) -> None:
    def archive_of(name: str) -> tuple[Settings, Archive]:
        settings = Settings(home=tmp_path / name)
        archive = Archive(settings.archive)
        archive.write_items("items", tiny_items())
        return settings, archive

    settings, archive = archive_of("shop")
    archive.events.write("happened", events(0, 24))
    before = shop_question(settings).split
    to_come = events(24, 48).with_columns(timestamp=datetime.now(UTC) + timedelta(days=9))
    archive.events.write("to-come", to_come)
    after = shop_question(settings).split
    assert after.past.digest() == before.past.digest()
    assert after.future.sort("event_id").equals(before.future.sort("event_id"))
    settings, archive = archive_of("clock")
    archive.events.write("to-come", to_come)
    with pytest.raises(UserError, match=r"archive: all .* Is this machine's clock right\?"):
        shop_question(settings)


def test_a_bundle_that_is_broken_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "CURRENT").write_text("../elsewhere")
    assert run(monkeypatch, tmp_path, "--served") == 2
    assert "must name a bundle version" in capsys.readouterr().err


def test_a_bundle_that_ranks_by_what_there_is_no_more_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = build_tiny_bundle(tmp_path / "bundles", ranking=tiny_ranking(60))
    of_an_earlier_release(path)
    assert run(monkeypatch, tmp_path, "--served") == 2
    printed = capsys.readouterr().err
    assert "`ranking.features` must be" in printed
    assert "Traceback" not in printed


def test_a_text_model_that_cannot_be_loaded_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file, home = tmp_path / "riverrun.toml", tmp_path / "shop"
    file.write_text('[training]\ntext = { model = "absent/model" }\n')
    archive = Archive(home / "archive")
    archive.events.write("tiny", events(0, 24))
    archive.write_items("tiny", tiny_items())
    assert run(monkeypatch, home, "--settings", str(file)) == 2
    printed = capsys.readouterr()
    assert "`training.text.model` cannot be loaded: " in printed.err
    assert "absent/model" in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_a_preset_is_computed_as_this_machine_is_set_and_made_as_its_protocol_is() -> None:
    sequences = PROTOCOLS["sequences"]
    validation = replace(sequences.validation, split=lambda data: cast(Any, data))
    protocol = replace(sequences, validation=validation)
    training = TrainingSettings(precision="mixed_bfloat16", strategy="mirrored", epochs=99)
    serving = ServingSettings(pool_size=70)
    settings = Settings(training=training, serving=serving, history_length=9)
    asked = preset_question(protocol, PresetData(ITEMS, frame([])), settings, validation=True)
    changed = {"precision": "mixed_bfloat16", "strategy": "mirrored"}
    assert asked.training == protocol.settings.model_copy(update=changed)
    assert asked.training.epochs == protocol.settings.epochs
    assert asked.service == ServiceSettings() == Settings().service_settings


@pytest.mark.parametrize(("preset", "has_times"), [("sequences", False), ("movielens", True)])
def test_recent_popularity_is_asked_where_times_are_any(preset: str, has_times: bool) -> None:
    acts = [(number // 5, number % 8, number) for number in range(15)]
    data = PresetData(ITEMS, frame(acts))
    question = preset_question(PROTOCOLS[preset], data, Settings(), validation=False)
    assert question.has_times == has_times
    asked = evaluate_models(question, question.split, [], None, "", with_slices=False)
    names = [row.scorer for row in asked.rows]
    recent = ["popularity, last 14 days"] if has_times else []
    assert names == ["popularity", *recent, "item-kNN, cosine"]


def test_simple_recommenders_do_not_count_what_has_no_weight() -> None:
    events = frame([(0, 0, 0), (1, 0, 0), (2, 1, 0), (0, 1, 3), (1, 1, 3)])
    shown = pl.when(pl.col("item_id") == "i0").then(pl.lit("impression")).otherwise("event_type")
    split = temporal_split(events.with_columns(event_type=shown), ITEMS, START + timedelta(hours=1))
    found = []
    for weight in (1.0, 0.0):
        training = TrainingSettings(event_type_weights={"impression": weight})
        question = Question(split, training, ServiceSettings(), None)
        rows = evaluate_models(question, split, [], None, "", with_slices=False).rows
        found.append(
            {(row.scorer, row.task): row.metrics["mrr"] for row in rows}["popularity", "all"]
        )
    # Two saw the first item, and one user acted on the second, which both others do later.
    assert found == [0.5, 1.0]


def test_gpus_are_named_beside_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first", "second"])
    details = {"first": {"device_name": "One"}, "second": {"device_name": "Two"}}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.get)
    assert " GiB, One, Two, Python " in describe_machine(with_gpus=True)
    assert "One" not in describe_machine()


@pytest.mark.parametrize("others", [(), ("current bundle, which has seen 100 %", "all together")])
def test_the_table_of_four_scorers_and_of_a_refresh_fits_80_columns(
    others: tuple[str, ...],
) -> None:
    scorers = ("popularity", "popularity, last 14 days", "item-kNN, cosine", "two-tower", *others)
    figures = {"ndcg@10": 0.12345, "diversity@10": 0.5}
    console = Console(width=80, file=io.StringIO())
    console.print(metrics_table("novel", [EvaluationRow(s, "novel", 7, figures) for s in scorers]))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0].rstrip() == "novel (7 users)"
    assert ["ndcg@10", *["0.1235"] * len(scorers)] in [line.split() for line in lines]
    assert not any("…" in line for line in lines)
    words = " ".join(lines).split()
    assert {"popularity,", "two-tower", "diversity@10"} <= {*words}


def test_the_table_of_a_site_of_articles_breaks_words_in_80_columns_and_no_figure() -> None:
    of_news = tuple(name for name in BASELINES if name != OF_RETURNS)
    scorers = (*of_news, "two-tower", "current bundle, which has seen 100 %", "all together")
    figures = {"ndcg@10": 0.12345, "diversity@10": 0.5}
    rows = [EvaluationRow(scorer, "novel", 7, figures) for scorer in scorers]

    def printed(width: int) -> list[list[str]]:
        console = Console(width=width, file=io.StringIO())
        console.print(metrics_table("novel", rows))
        assert isinstance(console.file, io.StringIO)
        return [line.split() for line in console.file.getvalue().splitlines()]

    assert ["ndcg@10", *["0.1235"] * len(scorers)] in printed(80)
    assert ["diversity@10", *["0.5000"] * len(scorers)] in printed(80)
    assert not any("…" in word for line in printed(80) for word in line)
    assert any("popularity," in line for line in printed(100))
