"""A refresh goes on with what it has found out only as long as that holds."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from feature_repo.schema import Item
from serving.bundle import MANIFEST
from serving.published_bundles import CURRENT, current_version, set_current
from serving.settings import ServingSettings
from tests.support.resumed_refresh import NOW, OLD, PROMOTED, KilledError, Shop, events, shop_of
from trainer.ranking.service_settings import ServiceSettings
from trainer.refresh.bundle_versions import promote, rollback
from trainer.refresh.gate_settings import GateSettings
from trainer.refresh.notes import BundleChecks
from trainer.refresh.resuming import NoCheckpoint, RefreshCheckpoint


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = shop_of(tmp_path, tmp_path / "text-model")
    shop.serve(OLD)
    return shop


def test_a_refresh_goes_on_where_it_was_killed(shop: Shop) -> None:
    shop.kill("export")
    with capture_logs() as lines:
        gates = GateSettings(min_value={"all/ndcg@10": 0.1})
        done = shop.refreshed(shop.run(), gates=gates)
    assert [did for did, _ in shop.did] == ["trained"]
    assert done.start == f"warm start from {OLD}"
    assert current_version(shop.bundles) == done.bundle.name
    assert not lines


def test_what_came_of_its_gates_is_kept_where_it_is_refused(shop: Shop) -> None:
    gates = GateSettings(min_users=0, min_value={"all/ndcg@10": 0.9})
    done = shop.refreshed(shop.run(), gates=gates)
    assert done.refusals
    notes = shop.run().notes
    assert notes.checks == BundleChecks(1.0, 0.0)
    # It is of nothing, and cannot be compared.
    assert OLD in done.left_open
    assert notes.left_open == done.left_open


def test_it_goes_on_with_what_there_was_when_it_began(shop: Shop) -> None:
    """And of the events only with those that are there still; one that begins anew, with all."""
    began, now = [Item(item_id="lamp")], [Item(item_id="bed")]
    shop.kill("export", items=began)
    shop.refreshed(shop.run(), events("b", "c"), items=now)
    assert shop.learned == [({"a", "b"}, began), ({"b"}, began)]
    shop.refreshed(shop.run("other"), events("b", "c"), items=now)
    assert shop.learned[-1] == ({"b", "c"}, now)


def test_a_training_that_is_not_a_run_learns_from_all_there_is(shop: Shop) -> None:
    shop.kill("train", shop.training())
    now = [Item(item_id="bed")]
    shop.refreshed(shop.training(), events("b", "c"), items=now)
    assert shop.learned[-1] == ({"b", "c"}, now)


def to(**changes: Any) -> Callable[[Shop], dict[str, Any]]:
    """Return the inputs of a refresh whose settings have changed."""
    return lambda shop: {"settings": shop.settings.model_copy(update=changes)}


def without_warm_start(shop: Shop) -> dict[str, Any]:
    warm = shop.settings.warm_start.model_copy(update={"enabled": False})
    return to(warm_start=warm)(shop)


def other_text_model(shop: Shop) -> dict[str, Any]:
    Path(shop.settings.text.model, "vocab.txt").write_text("other words")
    return {}


def other_lists(shop: Shop) -> dict[str, Any]:
    return {"service": ServiceSettings(ServingSettings(buy_again_days=7.0))}


@pytest.mark.parametrize(
    "change",
    [to(dimension=64), to(epochs=9), without_warm_start, other_text_model, other_lists],
)
@pytest.mark.parametrize("step", ["export", "check"])
def test_with_other_settings_it_is_trained_and_judged_anew(
    shop: Shop, step: str, change: Callable[[Shop], dict[str, Any]]
) -> None:
    """The rows and the number of epochs in the notes are of a model that is not made any more."""
    shop.kill(step)
    version = shop.run().notes.version
    (shop.checkpoints / "full").mkdir()
    changes = change(shop)
    with capture_logs() as lines:
        done = shop.refreshed(shop.run(), **changes)
    dimension = changes.get("settings", shop.settings).dimension
    assert shop.did == [("judged", dimension), ("trained", dimension)]
    assert done.bundle.name != version
    assert not (shop.checkpoints / "full").exists()
    (line,) = lines
    assert (line["event"], line["reason"]) == ("refresh_begins_anew", "its settings have changed")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("basis", "`Notes.basis.settings`: is missing"),
        ("start", "`Notes.start.version`: is missing"),
        ("choice", "`Notes.choice.epochs`: is missing"),
        ("version", "`Notes.version`: Input should be a valid string"),
    ],
)
def test_notes_that_cannot_be_read_are_forgotten(shop: Shop, name: str, wrong: str) -> None:
    """Another version of the program may have made them: the log says so, and all is done anew."""
    shop.kill("export")
    stored = orjson.loads(shop.runs.notes("run") or "")
    shop.runs.write_notes("run", orjson.dumps(stored | {name: {"rows": 1}}).decode())
    with capture_logs() as lines:
        shop.refreshed(shop.run(), events("b", "c"))
    assert [did for did, _ in shop.did] == ["judged", "trained"]
    assert shop.learned[-1] == ({"b", "c"}, [])
    (line,) = lines
    assert line["event"] == "refresh_begins_anew"
    assert line["reason"] == f"its notes are of another version of this program: {wrong}"


def test_it_is_not_compared_with_a_bundle_that_does_not_serve_any_more(shop: Shop) -> None:
    """And it does not serve under a version older than what was made meanwhile."""
    shop.kill("export")
    shop.serve(PROMOTED)
    done = shop.refreshed(shop.run())
    assert [did for did, _ in shop.did] == ["judged", "trained"]
    assert done.start == f"warm start from {PROMOTED}"


@pytest.mark.parametrize(
    ("latest", "did"), [([], []), ([Item(item_id="new", title="lamp")], ["trained"])]
)
def test_what_is_published_is_exported_again_where_items_have_changed_since(
    shop: Shop, latest: list[Item], did: list[str]
) -> None:
    shop.kill("check")
    version = shop.run().notes.version
    done = shop.refreshed(shop.run(), latest=lambda: latest)
    assert [step for step, _ in shop.did] == did
    assert done.bundle.name == version == current_version(shop.bundles)


def test_what_has_served_stays_what_it_was_for_those_who_know_its_version(shop: Shop) -> None:
    shop.kill("check")
    version = shop.run().notes.version
    assert version is not None
    promote(shop.bundles, version, NOW)
    promote(shop.bundles, OLD, NOW)
    shop.refreshed(shop.run(), latest=lambda: [Item(item_id="new", title="lamp")])
    assert not shop.did


def test_where_nothing_serves_any_more_there_is_nothing_to_compare_with(shop: Shop) -> None:
    shop.kill("train")
    checkpoint = shop.run()
    checkpoint.notes = replace(checkpoint.notes, version=None)
    (shop.bundles / CURRENT).unlink()
    shop.refreshed(shop.run())
    assert [did for did, _ in shop.did] == ["judged", "trained"]


def test_its_own_bundle_may_serve_already(shop: Shop) -> None:
    shop.kill("check")
    version = shop.run().notes.version
    assert version is not None
    set_current(shop.bundles, version)
    # Killed before that was written down. A clock may say something else the second time.
    gates = GateSettings(min_users=0, min_value={"all/ndcg@10": 0.9})
    done = shop.refreshed(shop.run(), gates=gates)
    assert (done.bundle.name, done.refusals) == (version, ())
    assert not shop.did


@pytest.mark.parametrize("gates", [GateSettings(min_users=0), None])
def test_what_was_rolled_back_from_is_not_served_by_the_run_that_made_it(
    shop: Shop, gates: GateSettings | None
) -> None:
    shop.runs.add_promotion(OLD, NOW, "train")
    version = shop.refreshed(shop.run()).bundle.name
    # Killed before it was written down that it serves, and rolled back from.
    assert rollback(shop.bundles, NOW) == OLD
    shop.did.clear()
    done = shop.refreshed(shop.run(), gates=gates)
    assert (done.bundle.name, shop.did) == (version, [])
    assert "rolled back from" in " ".join(done.refusals)
    assert current_version(shop.bundles) == OLD
    # Whoever knows better promotes it.
    promote(shop.bundles, version, NOW)
    assert not shop.refreshed(shop.run(), gates=gates).refusals
    assert current_version(shop.bundles) == version


@pytest.mark.parametrize("other", [Shop.training, lambda shop: shop.run("other")])
def test_checkpoints_of_another_training_are_not_gone_on_from(
    shop: Shop, other: Callable[[Shop], RefreshCheckpoint]
) -> None:
    """By `riverrun train`, or by a refresh of another id, that did not come to serve."""
    shop.kill("export")
    shop.kill("train", other(shop))
    (shop.checkpoints / "full").mkdir()
    done = shop.refreshed(shop.run())
    assert [did for did, _ in shop.did] == ["judged", "trained"]
    assert current_version(shop.bundles) == done.bundle.name
    assert not (shop.checkpoints / "full").exists()


def test_a_training_that_is_not_a_run_goes_on_from_its_own_checkpoints_alone(shop: Shop) -> None:
    shop.kill("train", shop.training())
    (shop.checkpoints / "full").mkdir()
    shop.refreshed(shop.training())
    assert (shop.checkpoints / "full").exists()
    shop.kill("train")
    (shop.checkpoints / "full").mkdir()
    shop.refreshed(shop.training())
    assert not (shop.checkpoints / "full").exists()


def test_without_a_checkpoint_nothing_is_kept_and_nothing_is_touched(shop: Shop) -> None:
    shop.kill("export")
    for read in (events("a"), events("c")):
        done = shop.refreshed(NoCheckpoint(), read)
        assert current_version(shop.bundles) == done.bundle.name
    assert [did for did, _ in shop.did] == ["judged", "trained"] * 2
    assert shop.learned[-1] == ({"c"}, [])
    assert (shop.checkpoints / "ranker.safetensors").exists()


def test_a_start_that_cannot_be_read_any_more_is_no_start(shop: Shop) -> None:
    shop.kill("export")
    (shop.bundles / OLD / MANIFEST).unlink()
    done = shop.refreshed(shop.run())
    assert [did for did, _ in shop.did] == ["judged", "trained"]
    assert done.start.startswith(f"cold start: {OLD} cannot be read")


def test_what_is_published_needs_no_checkpoints(shop: Shop) -> None:
    shop.kill("check")
    version = shop.run().notes.version
    (shop.checkpoints / "ranker.safetensors").unlink()
    assert shop.refreshed(shop.run()).bundle.name == version


def test_killed_as_it_begins_anew_it_goes_on_with_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoints may be half removed: not even the settings of before bring them back."""
    shop.kill("export")

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KilledError):
            shop.refreshed(shop.run(), **to(epochs=9)(shop))
    shop.refreshed(shop.run())
    assert [did for did, _ in shop.did] == ["judged", "trained"]
