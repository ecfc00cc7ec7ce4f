"""What is asked beside a model where people come back to what they have acted on."""

import numpy as np
import pytest
from hypothesis import given

from feature_repo.schema import Item
from tests.support.few_events import EVENTS, frame
from trainer.baselines import Popularity, baselines, people_return_to_items
from trainer.interactions import Interactions
from trainer.refresh.gate_settings import OF_RETURNS

ITEMS = [Item(item_id=f"i{number}") for number in range(40)]


def interactions(events: list[tuple[int, int, int]]) -> Interactions:
    return Interactions.from_frame(frame(events), ITEMS)


@pytest.mark.parametrize(("others", "is_asked"), [(0, True), (18, True), (19, False)])
def test_a_twentieth_of_the_events_decides(others: int, is_asked: bool) -> None:
    """Another user's event, and what one looks at twice in a day, bring nobody back."""
    comes_back = [(0, 0, 0), (0, 0, 24)]
    past = interactions([*comes_back, *((1, 0, 23 + hour % 24) for hour in range(others))])
    assert people_return_to_items(past) == is_asked
    assert (OF_RETURNS in {each.name for each in baselines(past)}) == is_asked


def test_nobody_returns_where_nothing_happened() -> None:
    assert not people_return_to_items(interactions([]))


def test_own_items_come_by_how_often_and_then_what_is_popular() -> None:
    of_others = [(user, item, 1) for user in (1, 2, 3) for item in range(4, 4 + user)]
    past = interactions([(0, 2, 0), (0, 3, 0), (0, 3, 50), (0, 3, 90), (0, 2, 99), *of_others])
    (own,) = (each for each in baselines(past) if each.name == OF_RETURNS)
    assert own.score(np.array([0]))[0].argsort()[::-1][:5].tolist() == [3, 2, 4, 5, 6]


@given(EVENTS)
def test_to_whom_nothing_is_known_it_is_popularity(events: list[tuple[int, int, int]]) -> None:
    returning = [(40, 0, 0), (40, 0, 30), (40, 0, 60)] * 20
    past = interactions([*events, *returning])
    (own,) = (each for each in baselines(past, past.with_users(["new"])) if each.name == OF_RETURNS)
    user = np.array([past.with_users(["new"]).user_ids.index("new")])
    popular = Popularity(past).score(user)
    np.testing.assert_array_equal(own.score(user), popular * np.float32(0.5))
