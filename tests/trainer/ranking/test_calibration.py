"""What sources weigh in the fusion: laws of the estimate, and what it is learned from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.ranking.feature_names import feature_names
from serving.ranking.fusion_weights import fusion_weights, weight_vector
from serving.ranking.settings import BUILT_IN_WEIGHTS, SOURCES, RankingSettings
from trainer.ranking import calibration
from trainer.ranking.calibration import calibrated_weights, mixture_weights
from trainer.ranking.examples import Examples

PRIOR = weight_vector(BUILT_IN_WEIGHTS)
EASE = SOURCES.index("ease")


def examples(opinions: np.ndarray, labels: np.ndarray) -> Examples:
    """Examples of requests [num_requests, num_candidates, len(SOURCES)], and their labels."""
    requests, candidates, _ = opinions.shape
    flat = opinions.reshape(-1, len(SOURCES)).astype(np.float32)
    return Examples(
        np.zeros((len(flat), len(feature_names(SOURCES))), np.float32),
        labels.ravel().astype(np.float32),
        np.ones(len(flat), np.float32),
        flat,
        flat,
        np.full(requests, candidates),
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits)
    shares: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


def drawn(num_requests: int, weights: np.ndarray, seed: int) -> Examples:
    """Requests of ten candidates, of which the mixture by `weights` chooses one."""
    random = np.random.default_rng(seed)
    opinions = softmax(2 * random.normal(size=(num_requests, 10, len(SOURCES))))
    mixed = opinions @ weights
    chosen = [random.choice(10, p=each / each.sum()) for each in mixed]
    return examples(opinions, np.eye(10)[chosen])


PROBABILITIES = st.floats(1e-6, 1.0)


@given(
    st.lists(st.lists(PROBABILITIES, min_size=3, max_size=3), min_size=1, max_size=12),
    st.lists(st.floats(0, 20), min_size=3, max_size=3).filter(lambda prior: sum(prior) > 0.1),
    st.integers(1, 20),
)
def test_no_step_makes_what_happened_less_probable(
    opinions: list[list[float]], prior: list[float], steps: int
) -> None:
    columns, counts, before = np.array(opinions), np.ones(len(opinions)), np.array(prior)

    def posterior(weights: np.ndarray) -> float:
        known = before > 0
        of_prior = before[known] @ np.log(np.maximum(weights[known], 1e-300))
        return float(counts @ np.log(columns @ weights) + of_prior)

    with pytest.MonkeyPatch.context() as patch:
        found = []
        for number in (steps, steps + 1):
            patch.setattr(calibration, "STEPS", number)
            found.append(mixture_weights(columns, counts, before))
    assert posterior(found[1]) >= posterior(found[0]) - 1e-9
    for weights in found:
        assert weights.sum() == pytest.approx(1.0)
        assert (weights >= 0).all()


def test_the_weights_that_made_the_choices_are_found() -> None:
    true = weight_vector({"ease": 0.45, "text": 0.15, "buy_again": 0.2})
    found = calibrated_weights(drawn(6_000, true, 0))
    assert found is not None
    assert weight_vector(found) == pytest.approx(true, abs=0.05)


def test_a_source_that_holds_the_answer_gets_the_most() -> None:
    labels = np.eye(8)[np.random.default_rng(0).integers(8, size=400)]
    opinions = np.full((400, 8, len(SOURCES)), 1 / 8)
    opinions[:, :, EASE] = labels
    found = calibrated_weights(examples(opinions, labels))
    assert found is not None
    assert found["ease"] > 0.8
    # What the others say is the same: what is left they have as they had before.
    assert found["co_visitation"] / found["trending"] == pytest.approx(2, rel=0.1)


def test_of_little_little_is_learned_and_of_nothing_nothing() -> None:
    few, many = (drawn(number, weight_vector({"text": 0.9}), 1) for number in (3, 3_000))
    distances = []
    for each in (few, many):
        found = calibrated_weights(each)
        assert found is not None
        distances.append(np.abs(weight_vector(found) - PRIOR).sum())
    assert distances[0] < 0.15 < distances[1]
    nothing = examples(np.full((3, 4, len(SOURCES)), 0.25), np.zeros((3, 4)))
    assert calibrated_weights(nothing) is None
    assert calibrated_weights(Examples.joined([])) is None
    assert (fusion_weights(RankingSettings(), None) == PRIOR).all()


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_the_weights_may_be_set_as_they_are(num_requests: int, seed: int) -> None:
    """They leave the two-tower a share, name what weighs anything, and are the same again."""
    lesson = drawn(num_requests, np.random.default_rng(seed).dirichlet(np.ones(len(SOURCES))), seed)
    found = calibrated_weights(lesson)
    assert found is not None
    assert RankingSettings(weights=found).weights == found == calibrated_weights(lesson)
    assert all(weight >= calibration.SMALLEST for weight in found.values())
    assert sum(found.values()) < 1


def test_a_request_counts_once_and_what_was_found_in_it_by_its_labels() -> None:
    random = np.random.default_rng(2)
    opinions = softmax(random.normal(size=(60, 10, len(SOURCES))))
    labels = np.zeros((60, 10))
    labels[:, 0] = 0.2
    labels[:30, 1] = 1.0
    expected = calibrated_weights(examples(opinions, labels))
    assert calibrated_weights(examples(opinions, labels * 0.5)) == expected
    # One that found the same twice, in place of once, counts no more for it.
    twice = np.concatenate([opinions, opinions[:, :1]], axis=1)
    both = np.concatenate([labels, labels[:, :1]], axis=1)
    once = labels.copy()
    once[:, 0] = 0.4
    assert calibrated_weights(examples(twice, both)) == calibrated_weights(examples(opinions, once))


@pytest.mark.parametrize("fusion", ["mixture", "reciprocal_rank", "voting"])
def test_weights_that_are_set_go_before_what_is_learned(fusion: str) -> None:
    learned, own = {"text": 0.6}, 1.0 if fusion != "mixture" else 0.9
    set_by_hand = RankingSettings.model_validate({"fusion": fusion, "weights": {"ease": 0.1}})
    found = dict(zip(SOURCES, fusion_weights(set_by_hand, learned).tolist(), strict=True))
    assert (found["ease"], found["text"], found["two_tower"]) == (0.1, 0.0, own)
    unset = RankingSettings.model_validate({"fusion": fusion})
    found = dict(zip(SOURCES, fusion_weights(unset, learned).tolist(), strict=True))
    assert (found["ease"], found["text"], found["two_tower"]) == (0.0, 0.6, 0.4)
