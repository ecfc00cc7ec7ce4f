"""What goes wrong around a refresh leaves the old bundle serving, and says what it was."""

import os
import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feature_repo.archive import Archive
from feature_repo.schema import Item
from serving import scann_index
from serving.bundle import CANDIDATE_EMBEDDINGS, read_manifest, verify
from serving.published_bundles import CURRENT, current_version, published_versions, set_current
from serving.settings import ServingSettings
from serving.text_embedding_cache import TextEmbeddingCache
from tests.support import tiny_training as tiny
from tests.support.small_disk import small_disk
from tests.support.tiny_bundle import build_tiny_bundle
from tests.support.tiny_refresh import (
    ANY_LOSS,
    BEFORE,
    CHECKING,
    EXPORTING,
    GATES,
    NOW,
    UNJUDGED,
    UNTIL,
    USERS,
    KilledError,
    TinyRefresh,
    events,
    kill_at,
)
from trainer.listener import Listener
from trainer.ranking.service_settings import ServiceSettings
from trainer.refresh.bundle_versions import (
    VersionError,
    bundle_versions,
    next_version,
    promote,
    rollback,
)
from trainer.refresh.gate_settings import GateSettings
from trainer.refresh.runs_file import RunsFile

pytestmark = pytest.mark.slow


def test_a_candidate_that_is_broken_is_refused_by_name_and_the_old_one_serves(
    shop: TinyRefresh,
) -> None:
    first = shop.killed(CHECKING)

    def damage(title: str) -> None:
        if title == CHECKING:
            (newest,) = set(shop.bundles.glob("2*Z-*")) - {first}
            file = newest / CANDIDATE_EMBEDDINGS
            file.write_bytes(file.read_bytes()[:-1] + b"!")

    done = shop.ran(UNTIL, listener=Listener(damage))
    assert (done.status, current_version(shop.bundles)) == ("refused", first.name)
    assert re.search(r"is broken: .*embeddings\.npy.*SHA-256", done.message)
    listed = bundle_versions(shop.bundles)[0]
    assert (listed.version, listed.status, listed.note) == (done.version, "refused", done.message)
    with pytest.raises(VersionError, match=r"embeddings\.npy.*SHA-256"):
        promote(shop.bundles, listed.version, NOW)
    # Where the current bundle is the damaged one, the next is compared with nobody, and cold.
    damaged = first / CANDIDATE_EMBEDDINGS
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    done = shop.refreshed(40, gates=ANY_LOSS)
    assert done.start.startswith(f"cold start: {first.name} cannot be read: bundle file")
    assert "current bundle" not in {row.scorer for row in done.rows}
    assert f"not asked: {first.name} serves, and cannot make lists now" in done.left_open
    assert current_version(shop.bundles) == done.bundle.name


def test_a_candidate_that_broke_before_its_run_goes_on_is_exported_again(shop: TinyRefresh) -> None:
    shop.killed(CHECKING)
    newest = shop.bundles / published_versions(shop.bundles)[-1]
    file = newest / CANDIDATE_EMBEDDINGS
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    steps: list[object] = []
    done = shop.ran(UNTIL, listener=Listener(step=steps.append))
    assert (done.status, done.version) == ("published", current_version(shop.bundles))
    assert verify(newest).version == done.version
    assert not steps  # what was trained is not trained again


def older(shop: TinyRefresh) -> Path:
    """Publish a bundle that may be gone back to from the one that serves."""
    return build_tiny_bundle(shop.bundles, created_at=NOW, current=False)


@pytest.mark.parametrize("title", ["Embedding texts", CHECKING])
def test_a_rollback_while_a_refresh_runs_is_not_undone_by_it(shop: TinyRefresh, title: str) -> None:
    """It was compared with the bad one alone, which was rolled back from."""
    bad = shop.killed(CHECKING)
    good = older(shop)
    runs = RunsFile(shop.bundles)
    for each in (good, bad):
        runs.add_promotion(each.name, NOW, "train")

    def roll_back(begun: str) -> None:
        if begun == title:
            assert rollback(shop.bundles, NOW) == good.name

    done = shop.ran(UNTIL, listener=Listener(roll_back))
    assert (done.status, current_version(shop.bundles)) == ("refused", good.name)
    assert done.message.startswith(f"{good.name} serves, and {bad.name} did as this refresh began")
    # It is kept: a person may know better.
    promote(shop.bundles, str(done.version), NOW)
    assert current_version(shop.bundles) == done.version


def test_a_training_serves_what_it_makes_whatever_serves_by_then(shop: TinyRefresh) -> None:
    shop.served()
    good = older(shop)
    unjudged = shop.settings.model_copy(update=UNJUDGED)
    overtake = Listener(lambda title: set_current(shop.bundles, good.name))
    done = shop.refreshed(UNTIL, settings=unjudged, listener=overtake)
    assert current_version(shop.bundles) == done.bundle.name


def test_a_current_that_is_damaged_while_a_refresh_runs_is_mended_by_it(shop: TinyRefresh) -> None:
    shop.killed(CHECKING)

    def damage(title: str) -> None:
        if title == CHECKING:
            (shop.bundles / CURRENT).write_text("nobody knows")

    done = shop.ran(UNTIL, listener=Listener(damage))
    assert (done.status, done.version) == ("published", current_version(shop.bundles))


def test_where_it_is_not_known_what_serves_a_refresh_starts_from_nothing_and_serves(
    shop: TinyRefresh,
) -> None:
    shop.bundles.mkdir()
    (shop.bundles / CURRENT).write_text("nobody knows")
    done = shop.ran(BEFORE, settings=shop.settings.model_copy(update=UNJUDGED))
    assert (done.status, done.version) == ("published", current_version(shop.bundles))
    manifest = read_manifest(shop.bundles / str(done.version))
    assert manifest.parent is None
    assert "must name a bundle version" in str(manifest.model["start"])


def test_a_candidate_that_is_much_worse_is_refused_and_kept(shop: TinyRefresh) -> None:
    good = shop.settings.model_copy(update={"epochs": 8, "learning_rate": 1e-2})
    unjudged = good.model_copy(update={"holdout_share": 0.0})
    first = shop.refreshed(BEFORE, settings=unjudged)
    # As good as untrained, and of another seed: what the first has learned it has not.
    cold = good.warm_start.model_copy(update={"enabled": False})
    update = {"epochs": 1, "learning_rate": 1e-9, "seed": 1, "warm_start": cold}
    bad = good.model_copy(update=update)
    done = shop.ran(UNTIL, settings=bad, gates=GateSettings(min_users=0))
    assert (done.status, current_version(shop.bundles)) == ("refused", first.bundle.name)
    assert "max_loss asks for" in done.message
    refused = bundle_versions(shop.bundles)[0]
    assert (refused.version, refused.status, refused.note) == (
        done.version,
        "refused",
        done.message,
    )


@pytest.fixture(scope="module")
def exported_with_many_items(
    preset: Path, embedded: TextEmbeddingCache, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a shop that was killed as it began to check the bundle."""
    shop = TinyRefresh(tmp_path_factory.mktemp("many"), preset, embedded)
    with pytest.raises(KilledError):
        shop.ran(0, **with_many_items(shop), listener=kill_at(CHECKING))
    return shop.folder


def with_many_items(shop: TinyRefresh) -> dict[str, Any]:
    """The options of a refresh whose index is a tree of ScaNN."""
    return {
        "items": [Item(item_id=f"i{number}", title=f"lamp {number}") for number in range(3_000)],
        "events_read": events(0, 20).with_columns(
            item_id=pl.format("i{}", pl.int_range(pl.len()) * 5)
        ),
        "service": ServiceSettings(ServingSettings(exact_below=0)),
        "settings": shop.settings.model_copy(update=UNJUDGED),
    }


@pytest.mark.parametrize("searched", [1, scann_index.SEARCHED_CANDIDATES])
def test_a_candidate_whose_index_misses_much_is_refused(
    shop: TinyRefresh,
    exported_with_many_items: Path,
    monkeypatch: pytest.MonkeyPatch,
    searched: int,
) -> None:
    """It is asked by a search that looks at a leaf or two and by the one there is."""
    few = searched < scann_index.SEARCHED_CANDIDATES
    monkeypatch.setattr(scann_index, "SEARCHED_CANDIDATES", searched)
    monkeypatch.setattr(scann_index, "SEARCHED_SHARE", 0.0)
    shop.begin_as(exported_with_many_items)
    done = shop.ran(0, **with_many_items(shop))
    assert done.status == ("refused" if few else "published")
    found = re.search(r"the index finds (0\.\d+) of the true best, and min_index", done.message)
    assert (found is not None) == few
    assert (current_version(shop.bundles) is None) == few


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "bundles", "8m") as folder:
        yield folder


def test_a_disk_that_is_full_while_exporting_fails_the_run_and_room_lets_it_go_on(
    disk: Path, shop: TinyRefresh
) -> None:
    first = shop.killed(EXPORTING)

    def fill(title: str) -> None:
        if title == EXPORTING:
            with (disk / "filler").open("wb", buffering=0) as filler:
                try:
                    # Room is left for the table of runs, and not for a bundle.
                    while os.statvfs(disk).f_bavail > 30:
                        filler.write(bytes(4_096))
                except OSError:
                    pass

    with pytest.raises(Exception, match=r"No space left|Failed to write"):
        shop.ran(UNTIL, listener=Listener(fill))
    assert current_version(shop.bundles) == first.name
    assert [each.version for each in bundle_versions(disk)] == [first.name]
    assert not list(disk.glob(".building-*"))
    failed = RunsFile(disk).all()[0]
    assert (failed.run_id, failed.status) == ("run", "failed")
    (disk / "filler").unlink()
    steps: list[object] = []
    done = shop.ran(UNTIL, listener=Listener(step=steps.append))
    assert (done.status, done.version) == ("published", current_version(disk))
    assert not steps  # what was trained is not trained again


def test_a_month_without_events_in_which_the_newest_slice_begins_is_trained_over(
    shop: TinyRefresh,
) -> None:
    late = events(15, 25).with_columns(pl.col("timestamp") + timedelta(days=30))
    done = shop.refreshed(0, events_read=pl.concat([events(0, 15), late]), gates=GATES)
    assert not done.refusals
    assert {row.num_users for row in done.rows if row.task == "all"} == {USERS}
    manifest = read_manifest(done.bundle)
    assert manifest.data_window.events == USERS * 25


def test_a_clock_that_went_back_orders_bundles_by_their_making(shop: TinyRefresh) -> None:
    shop.settings = shop.settings.model_copy(update=UNJUDGED)
    first = shop.refreshed(15)
    shop.day -= 2
    second = shop.refreshed(20)
    assert second.bundle.name > first.bundle.name
    runs = RunsFile(shop.bundles)
    for each in (first, second):
        runs.add_promotion(each.bundle.name, NOW, "refresh")
    assert rollback(shop.bundles, NOW) == first.bundle.name


def test_bundles_of_one_second_are_ordered_by_their_making(tmp_path: Path) -> None:
    """A version names a whole second, in which the next may begin as well."""
    for _ in range(20):
        name = next_version(tmp_path, NOW + timedelta(seconds=0.5))
        assert name > max(published_versions(tmp_path), default="")
        (tmp_path / name).mkdir()


def test_a_refresh_while_the_stream_is_replayed_counts_each_event_once(
    shop: TinyRefresh, tmp_path: Path
) -> None:
    """The archiver writes the same events again, in segments of other bounds."""
    archive = Archive(tmp_path / "archive")
    archive.write_items("items", tiny.tiny_items())
    everything = events(0, 20)
    archive.events.write("first-pass", everything)
    stopped = threading.Event()

    def replay() -> None:
        size = 50
        while not stopped.is_set():
            for start in range(0, everything.height, size):
                archive.events.write(f"replayed-{start}", everything[start : start + size])

    thread = threading.Thread(target=replay)
    thread.start()
    try:
        for _ in range(20):
            assert archive.events.scan().collect().height == everything.height
        done = shop.refreshed(
            0, events_read=archive.events.scan().collect(), items=archive.items(), gates=GATES
        )
    finally:
        stopped.set()
        thread.join()
    assert read_manifest(done.bundle).data_window.events == everything.height
