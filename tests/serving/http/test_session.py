"""A session is read in the order in which it was sent."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from feature_repo.history import UserHistory, fold
from serving.http.models import RecommendBody
from serving.http.recommendations import _recommend_request

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("time", [{}, {"timestamp": "2025-12-31T23:00:00Z"}])
def test_events_of_one_moment_keep_the_order_sent(time: dict[str, str]) -> None:
    """A click stream in whole seconds, or a batch that was stamped once."""
    sent = [f"i{number}" for number in range(120)]
    body = RecommendBody.model_validate({"session": [{"item_id": each, **time} for each in sent]})
    services: Any = SimpleNamespace(clock=lambda: NOW)
    session = _recommend_request(services, body).session
    history = fold(UserHistory("u"), reversed(session))
    assert [event.item_id for event in history.events] == sent
