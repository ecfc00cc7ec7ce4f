"""`riverrun refresh` while `riverrun rebuild` replays the stream of a shop whose state was lost."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from feature_repo.archive import Archive
from serving.bundle import verify
from serving.published_bundles import current_bundle, current_version
from tests.support.forked_command import forked, forked_server, riverrun
from tests.support.quick_refresh import SETTINGS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CALLERS = [f"caller-{number}" for number in range(40)]
VIEWS = 12
"""Of each caller, in turn with the others."""


def view_items(shop: httpx.Client) -> None:
    page = shop.get("/v1/items", params={"limit": VIEWS}).json()
    for item in page["items"]:
        viewed = {"item_id": item["item_id"], "event_type": "view"}
        events = [viewed | {"user_id": caller} for caller in CALLERS]
        shop.post("/v1/events", json=events, params={"wait": "applied"}).raise_for_status()


def histories(shop: httpx.Client) -> dict[str, Any]:
    """Return the callers' histories, each event with its id."""
    answers = {caller: shop.get(f"/v1/users/{caller}") for caller in CALLERS}
    return {caller: answer.raise_for_status().json() for caller, answer in answers.items()}


def test_each_event_counts_once_in_the_model_and_in_the_histories(
    home: Path, tmp_path: Path
) -> None:
    (settings := tmp_path / "refresh.toml").write_text(SETTINGS)
    archive, bundles = Archive(home / "archive"), home / "bundles"
    imported, old = archive.events.scan().collect().height, current_version(bundles)
    with forked_server(home) as server, httpx.Client(base_url=server.url, timeout=30) as shop:
        view_items(shop)
        before = histories(shop)
    for lost in ("checkpoint.sqlite", "online.sqlite"):
        (home / lost).unlink()
    refresh = ["refresh", "--home", str(home), "--settings", str(settings)]
    with forked(refresh, tmp_path) as (refreshing, said):
        assert any(line.startswith("Embedding texts ...") for line in said)
        rebuilt = riverrun("rebuild", "--home", str(home))
        rest = said.read()
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert refreshing.exitcode == 0, rest
    renewed = current_bundle(bundles)
    assert renewed is not None
    assert renewed.name != old
    assert verify(renewed).data_window.events == imported + len(CALLERS) * VIEWS
    with forked_server(home) as server, httpx.Client(base_url=server.url, timeout=30) as shop:
        assert histories(shop) == before
        answer = shop.post("/v1/recommend", json={"user_id": CALLERS[0]}).raise_for_status()
        assert answer.json()["model_version"] == renewed.name
