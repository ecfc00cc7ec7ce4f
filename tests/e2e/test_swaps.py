"""Models are swapped under load: no request fails, and each list is of one of them."""

import shutil
import threading
from functools import partial
from pathlib import Path

import httpx
import pytest

from serving.published_bundles import current_version, set_current
from tests.support.forked_command import forked_server
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CALLERS, PAUSE_SECONDS = 4, 0.1
SWAP_SECONDS = 60.0


def twin_of(bundles: Path, version: str) -> str:
    """Publish the same model as a newer version, and return that."""
    twin = "29990101T000000Z-dead"
    shutil.copytree(bundles / version, bundles / twin)
    manifest = bundles / twin / "manifest.json"
    manifest.write_text(manifest.read_text().replace(version, twin))
    return twin


def test_no_request_fails_while_models_are_swapped(home: Path) -> None:
    bundles = home / "bundles"
    versions = [twin_of(bundles, current_version(bundles)), current_version(bundles)]
    answered: list[str] = []
    failed: list[str] = []
    ended = threading.Event()

    def ask(url: str, user_id: str) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            event = {"user_id": user_id, "item_id": "i", "event_type": "view"}
            while not ended.wait(PAUSE_SECONDS):
                for path, body in (("recommend", {"user_id": user_id}), ("events", event)):
                    answer = client.post(f"/v1/{path}", json=body)
                    if answer.is_error:
                        failed.append(answer.text)
                    elif path == "recommend":
                        answered.append(answer.json()["model_version"])

    def serves(version: str) -> bool:
        return answered[-1:] == [version]

    with forked_server(home) as server:
        callers = [
            threading.Thread(target=ask, args=(server.url, f"caller-{number}"))
            for number in range(CALLERS)
        ]
        for caller in callers:
            caller.start()
        try:
            for version in versions:
                set_current(bundles, version)
                wait_until(partial(serves, version), f"{version} serves", seconds=SWAP_SECONDS)
        finally:
            ended.set()
            for caller in callers:
                caller.join()
    assert not failed
    assert {*answered} == {*versions}
