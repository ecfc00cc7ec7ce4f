"""The simple recommenders against their formulas, written down naively."""

import tracemalloc
from datetime import timedelta
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.schema import Item
from tests.support.few_events import EVENTS, ITEMS, START, frame
from trainer.baselines import (
    BuyAgain,
    Decay,
    Ease,
    FitScorer,
    ImplicitAls,
    ItemKnn,
    LastDays,
    NewestFirst,
    NoDecay,
    Popularity,
    PositionDecay,
    RecencyKnn,
    TimeDecay,
    WeightedSum,
    item_knn,
)
from trainer.interactions import Interactions
from trainer.tasks import leave_one_out_split, temporal_split

HALF_LIFE_DAYS = 0.25
DECAYS = st.sampled_from(
    [NoDecay(), TimeDecay(HALF_LIFE_DAYS), PositionDecay(2.0), LastDays(HALF_LIFE_DAYS)]
)
FITS: list[FitScorer] = [
    Popularity,
    partial(Popularity, days=HALF_LIFE_DAYS),
    NewestFirst,
    ItemKnn,
    partial(Ease, regularisation=2.0),
    partial(Ease, regularisation=2.0, learned=TimeDecay(1.0), asked=PositionDecay(2.0)),
    partial(BuyAgain, decay=TimeDecay(1.0)),
    partial(RecencyKnn, asked=PositionDecay(2.0), max_distance=3, cosine_weight=0.3),
    partial(ImplicitAls, factors=2, regularisation=0.1, confidence=2.0, iterations=1),
    partial(WeightedSum, name="sum", parts=((Popularity, 0.1), (ItemKnn, 1.0))),
]


def matrix(interactions: Interactions, weights: np.ndarray | None = None) -> np.ndarray:
    """Return [num_users, num_items]: what the largest of a pair's events weighs."""
    dense = np.zeros((len(interactions.user_ids), len(interactions.items)))
    weights = np.ones(len(interactions.item)) if weights is None else weights
    for user, item, weight in zip(interactions.user, interactions.item, weights, strict=True):
        dense[user, item] = max(dense[user, item], weight)
    return dense


def cosine(columns: np.ndarray) -> np.ndarray:
    normalised = columns / np.maximum(np.linalg.norm(columns, axis=0), 1)
    return normalised.T @ normalised


@pytest.mark.parametrize("fit", FITS)
@settings(max_examples=10)
@given(EVENTS)
def test_every_item_has_a_score_for_every_user_and_batches_do_not_change_it(
    fit: FitScorer, events: list[tuple[int, int, int]]
) -> None:
    split = leave_one_out_split(frame(events), ITEMS)
    scorer = fit(split.past, split.histories)
    users = np.arange(len(split.histories.user_ids))
    scores = scorer.score(users)
    assert scores.shape == (len(users), len(ITEMS))
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    for user in users:
        single = scorer.score(np.array([user]))
        np.testing.assert_allclose(single, scores[[user]], rtol=1e-4, atol=1e-5)
    scores[:] = -1
    assert not len(users) or (scorer.score(users) != -1).any()


@given(EVENTS, DECAYS)
def test_decays_are_at_most_one_and_never_favour_the_older(
    events: list[tuple[int, int, int]], decay: Decay
) -> None:
    interactions = Interactions.from_frame(frame(events), ITEMS)
    weights = decay.weights(interactions)
    assert weights.shape == interactions.item.shape
    assert weights.dtype == np.float32
    assert ((weights >= 0) & (weights <= 1)).all()
    newest = interactions.first_event[1:] - 1
    for user, last in enumerate(newest):
        own = weights[interactions.first_event[user] : last + 1]
        assert (np.diff(own) >= 0).all()
    if len(weights):
        assert weights[interactions.timestamp.argmax()] == 1 or isinstance(decay, PositionDecay)


def test_decays_halve_by_their_half_lives() -> None:
    interactions = Interactions.from_frame(
        frame([(0, 0, 0), (0, 1, 12), (0, 2, 24), (1, 0, 24)]), ITEMS
    )
    assert TimeDecay(0.5).weights(interactions).tolist() == [0.25, 0.5, 1, 1]
    assert PositionDecay(2.0).weights(interactions)[[0, 2, 3]].tolist() == [0.5, 1, 1]
    assert LastDays(0.5).weights(interactions).tolist() == [0, 0, 1, 1]


def test_popularity_counts_users_of_its_days() -> None:
    past = temporal_split(
        frame([(0, 0, 0), (1, 0, 1), (1, 0, 2), (0, 1, 24 * 20), (2, 2, 24 * 20 + 5)]),
        ITEMS,
        START + timedelta(days=30),
    ).past
    assert Popularity(past).score(np.array([0, 2])).tolist() == [[1, 0.5, 0.5]] * 2
    assert Popularity(past, days=14).score(np.array([1])).tolist() == [[0, 1, 1]]


@given(EVENTS)
def test_item_knn_is_the_cosine_of_columns(events: list[tuple[int, int, int]]) -> None:
    split = leave_one_out_split(frame(events), ITEMS)
    expected = matrix(split.histories) @ cosine(matrix(split.past))
    users = np.arange(len(expected))
    scores = ItemKnn(split.past, split.histories).score(users)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


@given(EVENTS, st.integers(1, 40))
def test_item_knn_does_not_depend_on_how_many_cosines_are_held_at_a_time(
    events: list[tuple[int, int, int]], held: int
) -> None:
    past = Interactions.from_frame(frame(events), ITEMS)
    users = np.arange(len(past.user_ids))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_knn, "COSINES_AT_A_TIME", held)
        scores = ItemKnn(past).score(users)
    np.testing.assert_allclose(scores, ItemKnn(past).score(users), rtol=1e-6)


def test_item_knn_of_a_user_who_had_everything_does_not_hold_all_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = [Item(item_id=f"i{number}") for number in range(3_000)]
    past = Interactions.from_frame(frame([(0, number, number) for number in range(3_000)]), items)
    monkeypatch.setattr(item_knn, "COSINES_AT_A_TIME", 300_000)
    tracemalloc.start()
    try:
        scores = ItemKnn(past).score(np.array([0]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (scores == 3_000).all()
    # 300,000 pairs take less than 5 MB, all 9,000,000 of them more than 100.
    assert peak < 30e6


@given(EVENTS, DECAYS, DECAYS, st.sampled_from([0.5, 3.0, 100.0]))
def test_ease_is_the_regression_of_each_item_on_the_others(
    events: list[tuple[int, int, int]], learned: Decay, asked: Decay, regularisation: float
) -> None:
    split = leave_one_out_split(frame(events), ITEMS)
    past, histories = split.past, split.histories
    taught = matrix(past, learned.weights(past))
    weights = np.zeros((len(ITEMS), len(ITEMS)))
    for item in range(len(ITEMS)):
        others = np.delete(np.arange(len(ITEMS)), item)
        gram = taught[:, others].T @ taught[:, others] + regularisation * np.eye(len(others))
        weights[others, item] = np.linalg.solve(gram, taught[:, others].T @ taught[:, item])
    expected = matrix(histories, asked.weights(histories)) @ weights
    ease = Ease(past, histories, regularisation=regularisation, learned=learned, asked=asked)
    np.testing.assert_allclose(ease.score(np.arange(len(expected))), expected, atol=1e-4)


@given(EVENTS, DECAYS)
def test_buy_again_sums_the_users_own_events(
    events: list[tuple[int, int, int]], decay: Decay
) -> None:
    past = Interactions.from_frame(frame(events), ITEMS)
    expected = np.zeros((len(past.user_ids), len(ITEMS)))
    np.add.at(expected, (past.user, past.item), decay.weights(past))
    scores = BuyAgain(past, decay=decay).score(np.arange(len(expected)))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


@given(EVENTS, st.integers(1, 4))
def test_recency_knn_adds_cosines_to_what_came_after(
    events: list[tuple[int, int, int]], max_distance: int
) -> None:
    split = leave_one_out_split(frame(events), ITEMS)
    past, histories = split.past, split.histories
    follow = np.zeros((len(ITEMS), len(ITEMS)))
    for user in range(len(past.user_ids)):
        sequence = past.item[past.first_event[user] : past.first_event[user + 1]]
        for place, item in enumerate(sequence):
            for distance, later in enumerate(sequence[place + 1 :][:max_distance], start=1):
                follow[item, later] += 1 / distance
    follow /= np.maximum(np.bincount(past.item, minlength=len(ITEMS)), 1)[:, None]
    decay = PositionDecay(1.5)
    asked = matrix(histories, decay.weights(histories))
    scorer = RecencyKnn(
        past,
        histories,
        asked=decay,
        max_distance=max_distance,
        cosine_weight=0.3,
    )
    expected = asked @ (follow + 0.3 * cosine(matrix(past)))
    np.testing.assert_allclose(scorer.score(np.arange(len(asked))), expected, rtol=1e-4, atol=1e-6)


@settings(max_examples=10)
@given(EVENTS)
def test_als_folds_a_user_in_by_weighted_least_squares(
    events: list[tuple[int, int, int]],
) -> None:
    split = leave_one_out_split(frame(events), ITEMS)
    scorer = ImplicitAls(
        split.past, split.histories, factors=3, regularisation=0.1, confidence=4.0, iterations=2
    )
    items = scorer.item_factors
    asked = matrix(split.histories)
    for user, row in enumerate(asked):
        confidence = np.where(row > 0, 4.0, 1.0)
        left = (items * confidence[:, None]).T @ items + 0.1 * np.eye(3)
        factors = np.linalg.solve(left, items.T @ (confidence * row))
        scores = scorer.score(np.array([user]))
        np.testing.assert_allclose(scores[0], items @ factors, rtol=1e-3, atol=1e-4)


def test_als_learns_who_goes_with_whom() -> None:
    # Two groups with their own items; user 0 lacks one of the group's.
    events = [(user, item, 0) for user in range(1, 4) for item in range(4)]
    events += [(user, item, 0) for user in range(4, 8) for item in range(4, 8)]
    events += [(0, item, 0) for item in range(3)]
    past = Interactions.from_frame(frame(events), ITEMS)
    (scores,) = ImplicitAls(past, factors=2, regularisation=0.01, confidence=10.0).score(
        np.array([0])
    )
    assert scores[3] > scores[4:].max() + 0.5


@given(EVENTS, st.floats(-2, 2), st.floats(-2, 2))
def test_a_weighted_sum_adds_scores(
    events: list[tuple[int, int, int]], first: float, second: float
) -> None:
    split = leave_one_out_split(frame(events), ITEMS)
    past, histories = split.past, split.histories
    parts: list[tuple[FitScorer, float]] = [(Popularity, first), (ItemKnn, second)]
    users = np.arange(len(histories.user_ids))
    expected = sum(weight * fit(past, histories).score(users) for fit, weight in parts)
    total = WeightedSum(past, histories, name="sum", parts=parts).score(users)
    np.testing.assert_allclose(total, expected, rtol=1e-5, atol=1e-6)


def test_what_means_nothing_is_refused() -> None:
    past = Interactions.from_frame(frame([(0, 0, 0)]), ITEMS)
    with pytest.raises(ValueError, match=r"`regularisation` must be positive. Received: 0"):
        Ease(past, regularisation=0)
    with pytest.raises(ValueError, match=r"`max_distance` must be at least 1. Received: 0"):
        RecencyKnn(past, asked=NoDecay(), max_distance=0, cosine_weight=1)
    with pytest.raises(ValueError, match=r"`parts` must hold at least one scorer"):
        WeightedSum(past, name="nothing", parts=[])
