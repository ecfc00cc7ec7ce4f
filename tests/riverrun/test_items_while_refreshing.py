"""A refresh of a shop that is open: what its items became meanwhile is in what it publishes."""

import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from fastapi.testclient import TestClient

from feature_repo.archive import Archive
from riverrun.errors import RunFailedError
from riverrun.refreshing import refresh_from_archive
from riverrun.settings import Settings, load_settings
from serving.bundle_loading import load_bundle
from serving.published_bundles import current_version
from serving.signatures import RECOMMEND
from tests.support import tiny_training as tiny
from tests.support import waiting
from tests.support.tiny_refresh import events
from tests.support.tiny_shop import tiny_shop
from trainer.listener import Listener
from trainer.refresh.resuming import NoCheckpoint
from trainer.refresh.runs_file import LOG_AWAY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

POSTED, IMPORTED, CHANGED, DELETED = "posted", "imported", "i5", "i6"

wait_until = partial(waiting.wait_until, seconds=120)


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    preset = tiny.tiny_preset(tmp_path / "bert")
    training = tomllib.loads(tiny.TRAINING.format(preset=preset))["training"]
    fast = {"epochs": 1, "holdout_share": 0.0, "labels_per_position": 1}
    return {"training": {**training, **fast}, "serving": {"reload_seconds": 0.05}}


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive = Archive(load_settings(home=tmp_path / "shop").archive)
    archive.write_items("items", tiny.tiny_items())
    archive.events.write("events", events(0, 12))
    return archive


def settings_of(archive: Archive, **options: Any) -> Settings:
    return load_settings(home=archive.root.parent, online_url="memory://", **options)


def test_what_was_posted_changed_deleted_and_imported_is_in_it(
    archive: Archive, options: dict[str, Any]
) -> None:
    settings = settings_of(archive, **options)
    lamp = next(item for item in tiny.tiny_items() if item.item_id == "i3")
    with tiny_shop(settings.home, **options) as shop, TestClient(shop.app) as client:
        wait_until(lambda: client.get("/readyz").is_success)

        def change(title: str) -> None:
            if title != "Training on everything":
                return
            for item_id in (POSTED, CHANGED):
                document = lamp.model_dump(mode="json") | {"item_id": item_id}
                client.post("/v1/items", json=document).raise_for_status()
            client.delete(f"/v1/items/{DELETED}").raise_for_status()
            archive.import_items("import-1", [lamp.model_copy(update={"item_id": IMPORTED})])

        done = refresh_from_archive(settings, NoCheckpoint(), Listener(change))
        bundle = load_bundle(done.bundle)
        items = {item.item_id: item for item in bundle.items()}
        assert items.keys() == {item.item_id for item in tiny.tiny_items()} - {DELETED} | {
            POSTED,
            IMPORTED,
        }
        assert items[CHANGED].title == lamp.title
        best = bundle.signatures[RECOMMEND](
            item_ids=tf.constant([["i1", IMPORTED]]),
            event_types=tf.constant([["view", "view"]]),
            timestamps=tf.constant([[10**15, 10**15 + 1]], tf.int64),
            query_text=tf.constant([""]),
        )["item_ids"]
        assert {each.decode() for each in best.numpy()[0]} == items.keys()
        # The running server lists them too, the imported one with them.
        wait_until(lambda: shop.holder.current.bundle_version == done.bundle.name)
        answer = client.get(f"/v1/items/{POSTED}/similar", params={"limit": 50})
        listed = [item["item_id"] for item in answer.raise_for_status().json()["items"]]
        assert {IMPORTED, CHANGED, "i3"} <= set(listed)
        assert DELETED not in listed


def test_a_log_that_cannot_be_read_ends_it_before_it_trains(
    archive: Archive, options: dict[str, Any]
) -> None:
    """Nobody listens there."""
    streaming = {"kafka": {"timeout_seconds": 1}}
    settings = settings_of(
        archive, **options, log_url="kafka://127.0.0.1:1/shop", streaming=streaming
    )
    stages: list[str] = []
    with pytest.raises(RunFailedError, match=f"{LOG_AWAY}: .*127.0.0.1:1"):
        refresh_from_archive(settings, NoCheckpoint(), Listener(stages.append))
    assert not stages
    assert current_version(settings.bundles) is None


def test_where_nothing_was_ever_sent_no_log_is_made(
    archive: Archive, options: dict[str, Any]
) -> None:
    settings = settings_of(archive, **options)
    done = refresh_from_archive(settings, NoCheckpoint(), Listener())
    assert current_version(settings.bundles) == done.bundle.name
    assert settings.embedded_log is not None
    assert not settings.embedded_log.exists()
