"""Items that change while a model is trained are right after the swap, wherever it is served."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from riverrun.embedded import embedded_shop
from riverrun.server import serving_replica
from riverrun.settings import Settings, load_settings
from tests.support import waiting
from tests.support.tiny_bundle import CREATED_AT, build_tiny_bundle, tiny_items
from tests.support.tiny_shop import tiny_shop

NEW, CHANGED, DELETED, BACK = "brought-in", "i5", "i6", "i7"


@contextmanager
def ready(app: Any) -> Iterator[TestClient]:
    with TestClient(app) as client:
        wait_until(lambda: client.get("/readyz").is_success)
        yield client


wait_until = partial(waiting.wait_until, seconds=60)


def serves(client: TestClient) -> str:
    answer = client.post("/v1/recommend", json={"user_id": "anyone"}).raise_for_status()
    return str(answer.json()["model_version"])


def similar(client: TestClient, item_id: str) -> list[str]:
    answer = client.get(f"/v1/items/{item_id}/similar", params={"limit": 60}).raise_for_status()
    return [item["item_id"] for item in answer.json()["items"]]


def change_items(client: TestClient) -> None:
    kettle, back = (item.model_dump(mode="json") for item in tiny_items(2, 6))
    applied = {"wait": "applied"}
    lamp = tiny_items(1, 3)[0].model_dump(mode="json")
    for document in (
        {**lamp, "item_id": NEW},
        # It was a pair of shoes.
        {**lamp, "item_id": CHANGED, "title": "lamps lamps lamps"},
    ):
        client.post("/v1/items", json=document, params=applied).raise_for_status()
    for item_id in (kettle["item_id"], back["item_id"]):
        client.delete(f"/v1/items/{item_id}", params=applied).raise_for_status()
    client.post("/v1/items", json=back, params=applied).raise_for_status()


def check(client: TestClient) -> dict[str, list[str]]:
    """What changed is known, deleted is gone, and both stand where the new model puts them."""
    assert client.get(f"/v1/items/{CHANGED}").json()["title"] == "lamps lamps lamps"
    assert client.get(f"/v1/items/{BACK}").is_success
    assert client.get(f"/v1/items/{DELETED}").status_code == 404
    lists = {item_id: similar(client, item_id) for item_id in (NEW, CHANGED, BACK, "i8")}
    for item_id, others in lists.items():
        assert DELETED not in others, item_id
        assert {NEW, CHANGED, BACK} - {item_id} <= set(others), item_id
    # The lamp that was brought in has the text of i3, and so its place in any vector space.
    assert lists[NEW][0] == "i3"
    assert "lamps" in client.get(f"/v1/items/{lists[CHANGED][0]}").json()["title"]
    return lists


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, online_url="memory://", serving={"reload_seconds": 0.05})


def test_embedded_and_in_a_replica_and_in_one_that_starts_later(
    settings: Settings, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        shop = stack.enter_context(tiny_shop(tmp_path, serving={"reload_seconds": 0.05}))
        embedded = stack.enter_context(ready(shop.app))
        replica = stack.enter_context(ready(stack.enter_context(serving_replica(settings))))
        old = serves(embedded)
        # The refresh has read the items; they change; then it publishes what it has read.
        change_items(embedded)
        new = build_tiny_bundle(
            settings.bundles, seed=1, created_at=CREATED_AT + timedelta(days=1)
        ).name
        assert new != old
        for client in (embedded, replica):
            wait_until(lambda client=client: serves(client) == new)  # type: ignore[misc]
        expected = check(embedded)
        assert check(replica) == expected
        with serving_replica(settings) as later, ready(later) as client:
            assert check(client) == expected
    with embedded_shop(settings) as again, ready(again.app) as client:
        assert serves(client) == new
        assert check(client) == expected
