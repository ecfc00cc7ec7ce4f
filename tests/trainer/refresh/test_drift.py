"""Drift: no change is near nothing, each kind of change moves its own signal."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from feature_repo.schema import Item
from serving.bundle import MANIFEST, DataWindow, read_manifest
from serving.published_bundles import set_current
from tests.support.tiny_bundle import CREATED_AT, build_tiny_bundle, tiny_items
from trainer.refresh.drift import Drift, measure_drift, stability_index
from trainer.refresh.drift_settings import DriftSettings
from trainer.refresh.lock import refresh_lock
from trainer.refresh.metrics import RefreshCollector
from trainer.refresh.runs_file import RunsFile

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=10)
NOW = END + timedelta(days=1)
SETTINGS = DriftSettings(min_events=50)
CATALOGUE = [f"i{number}" for number in range(90)]
"""The items of the bundle, and thirty new ones."""
COUNTS = st.lists(st.integers(0, 1000), min_size=1, max_size=8).filter(any)


def draw(
    at: datetime, seed: int, *, items: tuple[int, int] = (0, 60), views: float = 0.7
) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    chosen = random.integers(*items, size=4_000)
    return pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in chosen],
            "event_type": np.where(random.random(len(chosen)) < views, "view", "cart"),
            "timestamp": [at] * len(chosen),
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty items of five categories, all acted on; kettles are twice as long as the others."""
    items = tiny_items()
    lengths = np.where(np.arange(60) % 5 == 1, 2.0, 1.0) + np.linspace(0, 0.1, 60)
    embeddings = np.zeros((60, 16), np.float32)
    embeddings[:, 0] = lengths
    path = build_tiny_bundle(
        tmp_path_factory.mktemp("bundles"), items, embeddings=embeddings, counts=np.full(60, 7)
    )
    return with_window(path)


def with_window(bundle: Path) -> Path:
    window = DataWindow(start=START, end=END, events=4_000)
    manifest = read_manifest(bundle).model_copy(update={"data_window": window})
    (bundle / MANIFEST).write_text(manifest.model_dump_json())
    return bundle


def drift_of(bundle: Path, events: pl.LazyFrame) -> Drift:
    return measure_drift(bundle, events, CATALOGUE, SETTINGS, NOW)


def values(bundle: Path, now: pl.DataFrame) -> dict[str, float]:
    events = pl.concat([draw(END, 0), now]).lazy()
    return {each.name: each.value for each in drift_of(bundle, events).signals}


LATER = END + timedelta(hours=1)


def test_where_nothing_changed_all_signals_are_small(bundle: Path) -> None:
    assert max(values(bundle, draw(LATER, 1)).values()) < 0.02


@pytest.mark.parametrize(
    ("now", "moved"),
    [
        (draw(LATER, 1, views=0.2), {"event_types"}),
        (draw(LATER, 1).filter(pl.col("item_id").str.slice(1).cast(pl.Int64) % 5 != 1),
         {"categories", "embedding_norm"}),
        (draw(LATER, 1, items=(30, 90)), {"unseen_items", "categories"}),
    ],
)  # fmt: skip
def test_each_change_moves_its_own_signals(
    bundle: Path, now: pl.DataFrame, moved: set[str]
) -> None:
    found = drift_of(bundle, pl.concat([draw(END, 0), now]).lazy())
    assert {signal.name for signal in found.drifted} >= moved
    assert "event_types" not in {signal.name for signal in found.drifted} - moved
    assert found.version == bundle.name


def test_the_unseen_share_is_that_of_events(bundle: Path) -> None:
    now = draw(LATER, 1, items=(30, 90))
    unseen = now["item_id"].is_in([f"i{number}" for number in range(60)]).not_().mean()
    assert values(bundle, now)["unseen_items"] == pytest.approx(unseen)


def test_events_on_items_that_no_model_can_learn_of_are_not_unseen(bundle: Path) -> None:
    now = draw(LATER, 1, items=(30, 90))
    strays = draw(LATER, 2).with_columns(item_id=pl.lit("in no catalogue"))
    of_catalogue = values(bundle, now)["unseen_items"]
    assert values(bundle, pl.concat([now, strays]))["unseen_items"] == of_catalogue
    assert values(bundle, strays)["unseen_items"] == 0


@pytest.mark.parametrize("skew", [0.0, 1.0])
@pytest.mark.parametrize("categories", [20, 200, 2_000])
def test_however_many_categories_there_are_chance_is_no_drift(
    tmp_path: Path, categories: int, skew: float
) -> None:
    items = [Item(item_id=f"i{each}", categories=(f"c{each}",)) for each in range(categories)]
    path = with_window(build_tiny_bundle(tmp_path, items, counts=np.full(categories, 7)))
    settings = DriftSettings(thresholds={"categories": 0.25})
    shares = 1 / np.arange(1, categories + 1) ** skew

    def drawn(at: datetime, num_events: int, shares: np.ndarray) -> pl.DataFrame:
        random = np.random.default_rng(num_events)
        chosen = random.choice(categories, num_events, p=shares / shares.sum())
        columns = {"item_id": [f"i{each}" for each in chosen], "event_type": "view"}
        return pl.DataFrame(columns).with_columns(timestamp=pl.lit(at, pl.Datetime("us", "UTC")))

    def index(now: np.ndarray) -> float:
        events = pl.concat([drawn(END, 50_000, shares), drawn(LATER, 1_000, now)])
        (signal,) = measure_drift(path, events.lazy(), [], settings, NOW).signals
        return signal.value

    assert index(shares) < 0.1
    # What is popular now was rare.
    assert skew == 0 or index(shares[::-1].copy()) > 0.25


@pytest.mark.parametrize("rare", [0, 1, 160])
def test_a_rare_or_new_category_beside_a_large_one_that_becomes_common_is_drift(
    bundle: Path, rare: int
) -> None:
    """Of 4,000 events `rare` were on mugs, and the others on kettles; then nine in ten are."""
    kettles, mugs = ("i1", "i0")
    then, now = draw(END, 0, views=1), draw(LATER, 1, views=1)
    mugs_then, mugs_now = np.arange(4_000) < rare, np.arange(4_000) < 3_600
    events = pl.concat(
        each.with_columns(item_id=pl.Series(np.where(chosen, mugs, kettles)))
        for each, chosen in ((then, mugs_then), (now, mugs_now))
    )
    found = drift_of(bundle, events.lazy())
    assert "categories" in {signal.name for signal in found.drifted}


def test_events_that_were_erased_since_leave_nothing_to_compare_categories_with(
    bundle: Path,
) -> None:
    found = drift_of(bundle, draw(LATER, 1).lazy())
    assert {each.name: each.value for each in found.signals}["categories"] == 0


def test_few_events_tell_nothing(bundle: Path) -> None:
    events = pl.concat([draw(END, 0), draw(LATER, 1).head(49)]).lazy()
    found = drift_of(bundle, events)
    assert (found.events, found.signals, found.drifted) == (49, (), [])


def test_events_of_a_clock_that_is_ahead_are_no_drift_before_their_time(bundle: Path) -> None:
    to_come = draw(NOW + timedelta(days=1), 2, items=(60, 90))
    happened = [draw(END, 0), draw(LATER, 1)]
    with capture_logs() as logs:
        found = drift_of(bundle, pl.concat([*happened, to_come]).lazy())
    assert found == drift_of(bundle, pl.concat(happened).lazy())
    assert [line["event"] for line in logs] == ["events_wait"]
    # Of these alone it is not said that the clock is wrong: nothing may have happened.
    assert drift_of(bundle, pl.concat([happened[0], to_come]).lazy()).events == 0


def test_a_bundle_without_a_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not say which events"):
        drift_of(build_tiny_bundle(tmp_path), draw(LATER, 1).lazy())


@given(COUNTS, st.data())
def test_the_index_is_symmetric_and_zero_for_the_same(then: list[int], data: st.DataObject) -> None:
    now = data.draw(st.lists(st.integers(0, 1000), min_size=len(then), max_size=len(then)))
    before, after = np.array(then, np.float64), np.array(now, np.float64)
    assert stability_index(before, before) == pytest.approx(0, abs=1e-12)
    assert stability_index(before, after) == pytest.approx(stability_index(after, before))
    assert stability_index(before, after) >= -1e-12


def test_the_index_of_a_known_example() -> None:
    """Shares of .5 and .5 that become .6 and .4: .1 ln 1.2 - .1 ln .8."""
    index = stability_index(np.array([5e6, 5e6]), np.array([6e6, 4e6]))
    assert index == pytest.approx(0.1 * np.log(1.2) - 0.1 * np.log(0.8), abs=1e-6)


def test_what_is_known_of_refreshes_is_exported(bundle: Path) -> None:
    set_current(bundle.parent, bundle.name)
    runs = RunsFile(bundle.parent)
    runs.begin("first", START)
    runs.add_step("first", "Exporting", 2.5)
    runs.finish("first", "refused", END, bundle.name, "worse")
    runs.write_drift(bundle.name, {"categories": 0.3}, END)
    registry = CollectorRegistry()
    registry.register(
        RefreshCollector(bundle.parent, clock=lambda: CREATED_AT + timedelta(hours=1))
    )
    for name, labels, value in (
        ("riverrun_refresh_runs_total", {"outcome": "refused"}, 1),
        ("riverrun_refreshes_running", {}, 0),
        ("riverrun_refresh_step_seconds", {"step": "Exporting"}, 2.5),
        ("riverrun_drift", {"signal": "categories"}, 0.3),
        ("riverrun_bundle_age_seconds", {}, 3600),
    ):
        assert registry.get_sample_value(name, labels) == value


def test_gates_that_were_left_open_are_exported_until_they_are_asked(tmp_path: Path) -> None:
    runs = RunsFile(tmp_path)
    registry = CollectorRegistry()
    registry.register(RefreshCollector(tmp_path))
    said = []
    for number, (status, message) in enumerate(
        [("refused", "worse"), ("published", "80 users"), ("failed", "no room"), ("published", "")]
    ):
        started = START + timedelta(hours=number)
        runs.begin(f"{number}", started)
        runs.finish(f"{number}", status, started, None, message)
        said.append(registry.get_sample_value("riverrun_refresh_gates_open"))
    assert said == [0, 1, 1, 0]


def test_a_run_that_is_tried_again_lets_no_counter_fall(tmp_path: Path) -> None:
    runs = RunsFile(tmp_path)
    registry = CollectorRegistry()
    registry.register(RefreshCollector(tmp_path))

    def exported() -> tuple[float | None, float | None, float | None]:
        total = "riverrun_refresh_runs_total"
        failed, published = (
            registry.get_sample_value(total, {"outcome": outcome})
            for outcome in ("failed", "published")
        )
        return registry.get_sample_value("riverrun_refreshes_running"), failed, published

    assert exported() == (0, 0, 0)
    with refresh_lock(tmp_path):
        runs.begin("first", START)
        assert exported() == (1, 0, 0)
    runs.finish("first", "failed", END, None, "no room")
    assert exported() == (0, 1, 0)
    with refresh_lock(tmp_path):
        runs.begin("first", START)
        assert exported() == (1, 1, 0)
    runs.finish("first", "published", END, "v", "")
    assert exported() == (0, 1, 1)


def test_a_refresh_that_was_killed_is_not_at_work_and_has_failed(tmp_path: Path) -> None:
    """Its row says that it runs: the next one goes on with it."""
    runs = RunsFile(tmp_path)
    registry = CollectorRegistry()
    registry.register(RefreshCollector(tmp_path))

    def exported() -> tuple[float | None, float | None]:
        failed = registry.get_sample_value("riverrun_refresh_runs_total", {"outcome": "failed"})
        return registry.get_sample_value("riverrun_refreshes_running"), failed

    with refresh_lock(tmp_path):
        runs.begin("killed", START)
        assert exported() == (1, 0)
    assert exported() == (0, 1)
    # Asking leaves it to the next, which may be of another id, and be killed too.
    with refresh_lock(tmp_path):
        assert exported() == (1, 1)
        runs.begin("other", START)
        assert exported() == (1, 1)
    assert exported() == (0, 2)
    with refresh_lock(tmp_path):
        runs.begin("killed", START)
        assert exported() == (1, 2)
        runs.interrupt("killed")
    assert exported() == (0, 2)
    runs.finish("killed", "published", END, "v")
    # Nor does a process that begins now know less.
    registry = CollectorRegistry()
    registry.register(RefreshCollector(tmp_path))
    assert exported() == (0, 2)


def test_a_scrape_reads_no_more_of_a_longer_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = RunsFile(tmp_path)
    steps: list[int] = []
    taken = []
    connect = sqlite3.connect

    def counted(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_progress_handler(lambda: steps.append(1), 10)
        return connection

    for number in (10, 10_000):
        rows = [(f"{number}-{each}", START.isoformat(), END.isoformat()) for each in range(number)]
        with closing(connect(tmp_path / "runs.sqlite")) as file, file:
            file.executemany("INSERT INTO runs VALUES (?, 'published', ?, ?, 'v', '')", rows)
        runs.begin(f"{number}", START)
        runs.finish(f"{number}", "refused", END, "v")
        collector = RefreshCollector(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(sqlite3, "connect", counted)
            list(collector.collect())
        taken.append(len(steps))
        steps.clear()
    # In tens of instructions of SQLite's machine.
    assert taken[1] < 2 * taken[0]


def test_a_table_of_runs_that_is_damaged_leaves_the_other_metrics(bundle: Path) -> None:
    set_current(bundle.parent, bundle.name)
    registry = CollectorRegistry()
    registry.register(RefreshCollector(bundle.parent))
    (bundle.parent / "runs.sqlite").write_bytes(b"no database" * 1000)
    with capture_logs() as logs:
        for _ in range(2):
            assert registry.get_sample_value("riverrun_bundle_age_seconds") is not None
            assert registry.get_sample_value("riverrun_refreshes_running") is None
    assert [line["event"] for line in logs] == ["refresh_runs_not_read"]
