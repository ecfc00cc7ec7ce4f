"""One user's views, posted to a real server, and read from it again."""

import time
from collections.abc import Sequence

import httpx

from tests.support.waiting import LOOK_SECONDS

LEARNED_SECONDS = 20.0


def view_each(url: str, user_id: str, item_ids: Sequence[str]) -> None:
    """Post a view of each item, one request after the other; return once the last is accepted."""
    with httpx.Client(base_url=url) as client:
        for number, item_id in enumerate(item_ids):
            event = {
                "event_id": f"k{number}",
                "user_id": user_id,
                "item_id": item_id,
                "event_type": "view",
            }
            client.post("/v1/events", json=event).raise_for_status()


def viewed(url: str, user_id: str, count: int) -> list[str]:
    """Return the items of the user's history, once there are so many or it takes too long."""
    deadline = time.monotonic() + LEARNED_SECONDS
    history: list[str] = []
    with httpx.Client(base_url=url) as client:
        while len(history) < count and time.monotonic() < deadline:
            user = client.get(f"/v1/users/{user_id}")
            history = [event["item_id"] for event in user.json().get("history", [])]
            time.sleep(LOOK_SECONDS)
    return history
