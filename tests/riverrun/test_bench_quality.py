"""`riverrun bench quality`: what it measures, what it refuses, and the shape of its tables."""

import gzip
import io
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import pytest
from rich.console import Console
from rich.table import Table

from feature_repo.schema import Item
from riverrun.bench.item_features import item_labels, tag_features
from riverrun.bench.method_results import (
    HIT_RATE,
    NDCG,
    RECALL,
    Measures,
    MethodResult,
    compare,
)
from riverrun.cli.bench_quality import quality_table
from riverrun.cli.main import main
from riverrun.cli.slices_table import slices_table
from riverrun.protocols import PROTOCOLS
from serving.source_names import SOURCES
from tests.support import tiny_training as tiny
from tests.support.few_events import ITEMS, START, frame
from tests.support.step_by_step import step_by_step
from trainer.baselines import FitScorer, ItemKnn, Popularity, Scorer
from trainer.comparison import CANDIDATE
from trainer.evaluate import EvaluationRow, evaluate
from trainer.fitted_pipeline import FUSION
from trainer.interactions import Interactions
from trainer.ranking import learning_to_rank, ranker
from trainer.ranking.settings import RankerSettings
from trainer.settings import TextSettings
from trainer.tasks import leave_one_out_split, temporal_split

EVENTS = [(user, (user * 3 + hour // 2) % 8, hour) for user in range(5) for hour in range(0, 16, 2)]


@pytest.fixture(autouse=True, scope="module")
def _step_by_step() -> Iterator[None]:
    with step_by_step():
        yield


def run(monkeypatch: pytest.MonkeyPatch, home: Path, *arguments: str) -> int:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(
        "sys.argv", ["riverrun", "bench", "quality", "--home", str(home), *arguments]
    )
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def printed(table: Table, width: int = 80) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_method_is_fitted_once_for_all_its_tasks_and_scores_what_evaluate_says() -> None:
    split = temporal_split(frame(EVENTS), ITEMS, START.replace(hour=12))
    fitted = []

    def fit_knn(past: Interactions, histories: Interactions) -> Scorer:
        fitted.append(past)
        return ItemKnn(past, histories)

    methods: dict[str, tuple[FitScorer, ...]] = {"novel": (fit_knn,), "all": (Popularity, fit_knn)}
    told: list[str] = []
    results = compare(split, methods, Measures(), report=lambda name, seconds: told.append(name))
    assert fitted == [split.past]
    assert told == ["item-kNN, cosine", "popularity"]
    novel, every = split.tasks
    assert [result.row for result in results] == [
        evaluate(ItemKnn(split.past), novel),
        evaluate(Popularity(split.past), every),
        evaluate(ItemKnn(split.past), every),
    ]
    for result in results:
        for name in (NDCG, RECALL, HIT_RATE):
            low, high = result.intervals[name]
            assert low <= result.row.metrics[name] <= high
        assert result.fit_seconds > 0
        assert result.ms_per_list > 0


def test_slices_come_in_one_order_for_every_method() -> None:
    split = leave_one_out_split(frame(EVENTS), ITEMS)
    methods = {"leave-one-out": (Popularity, ItemKnn)}
    first, second = compare(split, methods, Measures(with_slices=True))
    names = [part.task for part in first.slices]
    assert len(names) == 7
    assert [part.task for part in second.slices] == names
    assert {part.scorer for part in second.slices} == {"item-kNN, cosine"}
    assert compare(split, methods, Measures())[0].slices == ()


def test_tags_tell_items_apart() -> None:
    items = [Item(item_id="a", tags=("x", "y")), Item(item_id="b", tags=("y",)), Item(item_id="c")]
    assert tag_features(items).tolist() == [[1, 1], [0, 1], [0, 0]]


def test_items_are_labelled_by_categories_else_tags_else_groups_of_texts() -> None:
    items = [Item(item_id="a", categories=("x", "y"), tags=("t",)), Item(item_id="b")]
    labels, kind = item_labels(items, None, 7)
    assert (labels.toarray().tolist(), kind) == ([[1, 1], [0, 0]], "categories")
    untold = [Item(item_id=str(number)) for number in range(4)]
    features = np.repeat(np.eye(2, dtype=np.float32), 2, axis=0)
    labels, kind = item_labels(untold, features, 7)
    assert kind == "groups of like texts"
    assert (labels.toarray() @ labels.toarray().T == features @ features.T).all()


def test_the_tables_fit_80_columns() -> None:
    names = ("popularity, last 14 days", "EASE, decayed + last week + own")
    figures = {NDCG: 0.12345, RECALL: 1.0, "coverage@10": 0.5, "gini@10": 0.25}
    figures |= {"diversity@10": 0.75, "categories@10": 12.3456}
    intervals = {NDCG: (0.1134, 0.1331), RECALL: (1.0, 1.0)}
    rows = [EvaluationRow(name, "novel", 22_363, figures) for name in names]
    lines = printed(
        quality_table("novel", [MethodResult(row, intervals, 123.4, 106.94) for row in rows])
    )
    assert lines[0].rstrip() == "novel (22,363 users)"
    assert not any("…" in line for line in lines)
    assert (
        sum(
            ".1235" in line
            and "1.0000" in line
            and "12.35" in line
            and "123 106.9" in " ".join(line.split())
            for line in lines
        )
        == 2
    )
    rows_of = [" ".join(line.split()) for line in lines]
    assert sum(".1235 1.0000" in row and "12.35 123 106.9" in row for row in rows_of) == 2
    split = leave_one_out_split(frame(EVENTS), ITEMS)
    methods = {"leave-one-out": PROTOCOLS["sequences"].baselines["leave-one-out"]}
    results = compare(split, methods, Measures(with_slices=True))
    lines = printed(slices_table("leave-one-out", [result.slices for result in results]))
    assert lines[0].rstrip() == "leave-one-out, ndcg@10 by number of events"
    assert not any("…" in line for line in lines)
    assert ["users", "users", "users", "users", "items", "items", "items"] in map(str.split, lines)
    assert ["0", "1", "2-5", "6+", "0", "1-5", "6+"] in map(str.split, lines)


@pytest.mark.parametrize("preset", PROTOCOLS)
def test_every_task_of_a_protocol_has_baselines_with_names_of_their_own(preset: str) -> None:
    events = frame(EVENTS)
    past = Interactions.from_frame(events, ITEMS)
    for fits in PROTOCOLS[preset].baselines.values():
        names = [fit(past, past).name for fit in fits]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(("preset", "has_times"), [("sequences", False), ("movielens", True)])
def test_recent_popularity_is_asked_where_times_are_any(preset: str, has_times: bool) -> None:
    past = Interactions.from_frame(frame(EVENTS), ITEMS)
    protocol = PROTOCOLS[preset]
    names = [fit(past, past).name for fit in protocol.baselines["leave-one-out"]]
    assert ("popularity, last 14 days" in names) == protocol.has_times == has_times


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "netflix", "--data", "x"], "--dataset 'netflix' is unknown. Known: online"),
        (["--data", "absent.csv"], "absent.csv: no such file"),
        (["--data", "x", "--json", "absent/t.json"], "must be a file in a folder that exists"),
        (["--data", "x", "--ablation", "--baselines-only"], "leave out --baselines-only"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    assert run(monkeypatch, tmp_path / "home", *arguments) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_a_data_set_of_sequences_is_measured_and_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = [*toys(tmp_path), "--json", str(tmp_path / "t.json"), "--slices"]
    assert run(monkeypatch, tmp_path / "home", *arguments, "--baselines-only") == 0
    out = capsys.readouterr().out
    assert "leave-one-out (59 users)" in out
    assert "no recent popularity: positions stand for times" in out
    assert "diversity by tags" in out.replace("\n", " ").replace("  ", " ")
    document = orjson.loads((tmp_path / "t.json").read_bytes())
    assert (document["dataset"], document["split"]) == ("beauty", "validation")
    methods = [result["method"] for result in document["results"]]
    assert "recency-kNN + skip-Markov" in methods
    for result in document["results"]:
        low, high = result[f"{NDCG} 95%"]
        assert low <= result[NDCG] <= high
        assert len(result["slices"]) == 7
        assert 1 <= result["categories@10"] <= 4
    assert not {"two-tower", CANDIDATE} & set(methods)


@pytest.mark.slow
def test_the_parts_of_the_pipeline_are_measured_beside_the_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    training = tiny.tiny_settings(
        epochs=1,
        holdout="last_events",
        text=TextSettings(model=str(tiny.tiny_preset(tmp_path / "bert")), max_tokens=16),
        ranking=RankerSettings(transition_distance=3, min_users=5, slices=1, epochs=1),
    )
    protocol = replace(PROTOCOLS["sequences"], settings=training)
    monkeypatch.setitem(PROTOCOLS, "sequences", protocol)
    # A ranker for so few is measured, whether or not it is worth having, and however little it
    # has learned.
    monkeypatch.setattr(learning_to_rank, "TRIED_BELOW", 0)
    monkeypatch.setattr(ranker, "MOST_EPOCHS", 1)
    # What the shop in this folder is set to is none of the protocol.
    monkeypatch.chdir(tmp_path)
    Path("riverrun.toml").write_text('[serving.ranking]\nsources = ["two_tower"]\n')
    arguments = [*toys(tmp_path), "--json", str(tmp_path / "t.json"), "--ablation"]
    assert run(monkeypatch, tmp_path / "home", *arguments) == 0
    results = orjson.loads((tmp_path / "t.json").read_bytes())["results"]
    found = {result["method"]: result for result in results}
    speaking = set(SOURCES) - {"co_visitation", "new_arrivals"}
    own = speaking - {"two_tower"} | {
        "two-tower",
        FUSION,
        CANDIDATE,
        "popular",
    }
    own |= {f"without {name}" for name in speaking}
    own |= {"without the ranker", f"{CANDIDATE}, diversity 0.3"}
    assert own <= set(found)
    # Nothing says when an item came.
    assert not {"new_arrivals", "without new_arrivals"} & set(found)
    assert len(results) == len(found)
    assert len({found[name]["fit_seconds"] for name in own}) == 1
    # The ranker off, or no ranker, is the same.
    assert found["without the ranker"][NDCG] == found[FUSION][NDCG]
    varied, plain = found[f"{CANDIDATE}, diversity 0.3"], found[CANDIDATE]
    assert varied["diversity@10"] != plain["diversity@10"]
    assert found["transitions"][NDCG] > 0


def toys(folder: Path) -> list[str]:
    """Write sequences of 59 users over 30 items, with tags; return the options that name them."""
    random = np.random.default_rng(0)
    lines = [
        " ".join([str(user), *map(str, random.permutation(30)[:8] + 1)]) for user in range(1, 60)
    ]
    data = folder / "Toys.txt.gz"
    data.write_bytes(gzip.compress("\n".join(lines).encode()))
    (folder / "Toys_item2attributes.json").write_bytes(
        orjson.dumps({str(item): [item % 4] for item in range(1, 31)})
    )
    return ["--dataset", "beauty", "--data", str(data)]


def test_fits_are_distinct_even_where_they_read_alike() -> None:
    split = leave_one_out_split(frame(EVENTS), ITEMS)
    methods = {"leave-one-out": (partial(Popularity), partial(Popularity))}
    assert len(compare(split, methods, Measures())) == 2
