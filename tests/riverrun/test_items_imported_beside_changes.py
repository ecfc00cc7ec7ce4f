"""What was imported after items were changed over HTTP serves from the next start on."""

from pathlib import Path

from fastapi.testclient import TestClient

from feature_repo.archive import Archive
from riverrun.embedded import embedded_shop
from riverrun.server import serving_replica
from riverrun.settings import load_settings
from tests.support.tiny_bundle import tiny_items
from tests.support.tiny_shop import tiny_shop
from tests.support.waiting import wait_until

APPLIED = {"wait": "applied"}
CHANGED, DELETED, UNTOUCHED = tiny_items(3, 5)


def test_an_import_wins_over_an_earlier_change_and_an_earlier_deletion(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, online_url="memory://")
    with tiny_shop(tmp_path) as shop, TestClient(shop.app) as client:
        sent = CHANGED.model_copy(update={"price": 10.0}).model_dump(mode="json")
        client.post("/v1/items", json=sent, params=APPLIED).raise_for_status()
        client.delete(f"/v1/items/{DELETED.item_id}", params=APPLIED).raise_for_status()
        assert not has_imports(client)
    cheaper = CHANGED.model_copy(update={"price": 8.0})
    Archive(settings.archive).import_items("import-1", [cheaper, DELETED, UNTOUCHED])
    with embedded_shop(settings) as again, serving_replica(settings) as replica:
        for app in (again.app, replica):
            with TestClient(app) as client:
                wait_until(lambda client=client: has_imports(client), seconds=60)  # type: ignore[misc]


def has_imports(client: TestClient) -> bool:
    """Whether what was imported is known and can be found."""
    address = f"/v1/items/{UNTOUCHED.item_id}/similar"
    similar = client.get(address, params={"limit": 60}).raise_for_status().json()
    found = {item["item_id"] for item in similar["items"]}
    price = client.get(f"/v1/items/{CHANGED.item_id}").raise_for_status().json()["price"]
    return bool(price == 8.0 and {CHANGED.item_id, DELETED.item_id} <= found)
