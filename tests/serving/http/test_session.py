"""A session is read in the order in which it was sent."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from feature_repo.history import UserHistory, fold
from serving.http.models import RecommendBody
from serving.http.problems import Problem
from serving.http.recommendations import _recommend_request
from serving.http.services import Acceptance

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AHEAD = timedelta(hours=3)
SERVICES: Any = SimpleNamespace(clock=lambda: NOW, acceptance=Acceptance(max_future=AHEAD))


@pytest.mark.parametrize("time", [{}, {"timestamp": "2025-12-31T23:00:00Z"}])
def test_events_of_one_moment_keep_the_order_sent(time: dict[str, str]) -> None:
    """A click stream in whole seconds, or a batch that was stamped once."""
    sent = [f"i{number}" for number in range(120)]
    body = RecommendBody.model_validate({"session": [{"item_id": each, **time} for each in sent]})
    session = _recommend_request(SERVICES, body).session
    history = fold(UserHistory("u"), reversed(session))
    assert [event.item_id for event in history.events] == sent


def test_a_session_lies_as_little_ahead_of_the_clock_as_events_may() -> None:
    """Else the stored history would count as years old beside it."""
    times = [NOW + AHEAD, NOW, NOW + AHEAD + timedelta(microseconds=1), NOW + 900 * AHEAD]
    session = [{"item_id": f"i{time}", "timestamp": time.isoformat()} for time in times]
    assert _recommend_request(SERVICES, RecommendBody.model_validate({"session": session[:2]}))
    with pytest.raises(Problem) as caught:
        _recommend_request(SERVICES, RecommendBody.model_validate({"session": session}))
    assert caught.value.status == 422
    assert [(each.field, each.value) for each in caught.value.errors] == [
        ("session.2.timestamp", times[2].isoformat()),
        ("session.3.timestamp", times[3].isoformat()),
    ]
    assert caught.value.errors[0].message == "must be at most 3:00:00 ahead of the server's clock."
