"""A bundle that must not be served: the old one serves on, and whoever watches is told."""

import shutil
from functools import partial
from pathlib import Path

from fastapi.testclient import TestClient

from serving.bundle import MANIFEST
from serving.published_bundles import current_bundle, set_current
from tests.support import waiting
from tests.support.tiny_shop import tiny_shop

OTHER = "20990102T030405Z-3f0f"


wait_until = partial(waiting.wait_until, seconds=60)


def test_a_refused_bundle_is_said_where_servers_are_watched(tmp_path: Path) -> None:
    with (
        tiny_shop(tmp_path, serving={"reload_seconds": 0.05}) as shop,
        TestClient(shop.app) as client,
    ):

        def is_refused() -> bool:
            return "riverrun_bundle_refused 1.0" in client.get("/metrics").text

        wait_until(lambda: client.get("/readyz").is_success)
        assert client.get("/readyz").json()["degraded"] == []
        assert not is_refused()

        served = current_bundle(tmp_path / "bundles")
        assert served is not None
        broken = served.with_name(OTHER)
        shutil.copytree(served, broken)
        (broken / MANIFEST).write_text("{broken")
        # Whole at once: the watcher looks all the time.
        set_current(tmp_path / "bundles", OTHER)
        wait_until(is_refused)
        answer = client.get("/readyz")
        # Lists can be had: no balancer shall turn away from a whole fleet.
        assert answer.status_code == 200
        assert answer.json()["model_version"] == served.name
        (complaint,) = answer.json()["degraded"]
        assert f"bundle was refused: {OTHER}/{MANIFEST}: is not JSON" in complaint
        assert str(tmp_path) not in answer.text

        set_current(tmp_path / "bundles", served.name)
        wait_until(lambda: not is_refused())
        assert client.get("/readyz").json()["degraded"] == []
