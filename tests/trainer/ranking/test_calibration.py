"""What sources weigh in the fusion: laws of the estimate, and what it is learned from."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.candidates import Candidates
from serving.item_rows import ItemRows
from serving.ranking.calibrated_fusion import CalibratedFusion, fusion_of, weight_vector
from serving.ranking.feature_names import feature_names
from serving.ranking.pool import Pool
from serving.ranking.ranking_stage import RankingStage
from serving.ranking.settings import BUILT_IN_WEIGHTS, RankingSettings, Weights
from serving.settings import ServingSettings
from serving.source_names import SOURCES
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.trending import TrendingSource
from trainer.ranking import calibration
from trainer.ranking.calibration import calibrated_fusion, log_posterior, mixture_weights
from trainer.ranking.examples import Examples
from trainer.ranking.opinions import TEMPERATURES, Opinions

PRIOR = weight_vector(BUILT_IN_WEIGHTS)


def examples(
    shares: np.ndarray,
    labels: np.ndarray,
    own: np.ndarray | None = None,
    silent: Sequence[str] = (),
) -> Examples:
    """Examples of requests [num_requests, num_candidates, len(SOURCES)], and their labels.

    own: [num_requests, num_candidates], the logarithms of what the two-tower thinks; default: those
    of its column.
    """
    requests, candidates, _ = shares.shape
    flat = shares.reshape(-1, len(SOURCES)).astype(np.float32)
    own = np.log(shares[:, :, 0]) if own is None else own
    sizes = np.full(requests, candidates)
    is_silent = np.tile([name in ("two_tower", *silent) for name in SOURCES], (requests, 1))
    totals = np.log(np.stack([np.exp(own / each).sum(axis=1) for each in TEMPERATURES], axis=1))
    return Examples(
        np.zeros((len(flat), len(feature_names(SOURCES))), np.float32),
        labels.reshape(-1, 1).astype(np.float32),
        np.ones(len(flat), np.float32),
        sizes,
        Opinions(flat, own.ravel().astype(np.float32), None, is_silent, totals),
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits)
    shares: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


def drawn(num_requests: int, weights: np.ndarray, seed: int, sharpness: float = 1.0) -> Examples:
    """Requests of ten candidates, of which the mixture by `weights` chooses one.

    sharpness: what the two-tower's scores are multiplied by, after the choice.
    """
    random = np.random.default_rng(seed)
    shares = softmax(2 * random.normal(size=(num_requests, 10, len(SOURCES))))
    mixed = shares @ weights
    chosen = [random.choice(10, p=each / each.sum()) for each in mixed]
    return examples(shares, np.eye(10)[chosen], sharpness * np.log(shares[:, :, 0]))


def weights_of(lesson: Examples) -> Weights:
    found = calibrated_fusion(lesson)
    assert found is not None
    return found.weights


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
    with pytest.MonkeyPatch.context() as patch:
        found = []
        for number in (steps, steps + 1):
            patch.setattr(calibration, "STEPS", number)
            found.append(mixture_weights(columns, counts, before))
    one, other = (log_posterior(columns, counts, before, weights) for weights in found)
    assert other >= one - 1e-9
    for weights in found:
        assert weights.sum() == pytest.approx(1.0)
        assert (weights >= 0).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_what_made_the_choices_is_found(temperature: float) -> None:
    true = weight_vector({"ease": 0.35, "text": 0.15, "buy_again": 0.1})
    found = calibrated_fusion(drawn(8_000, true, 0, temperature))
    assert found is not None
    assert weight_vector(found.weights) == pytest.approx(true, abs=0.05)
    assert found.temperature == temperature


def test_a_source_that_holds_the_answer_gets_the_most() -> None:
    labels = np.eye(8)[np.random.default_rng(0).integers(8, size=400)]
    shares = np.full((400, 8, len(SOURCES)), 1 / 8)
    shares[:, :, SOURCES.index("ease")] = labels
    assert weights_of(examples(shares, labels))["ease"] > 0.8


def test_who_says_nothing_keeps_the_proportion_to_the_two_tower() -> None:
    """Whose share its own is then."""
    random = np.random.default_rng(0)
    shares = softmax(random.normal(size=(500, 10, len(SOURCES))))
    labels = np.eye(10)[random.integers(10, size=500)]
    found = weight_vector(weights_of(examples(shares, labels, silent=["co_visitation"])))
    kept = found[SOURCES.index("co_visitation")] / found[SOURCES.index("two_tower")]
    assert kept == pytest.approx(0.2 / 0.5, abs=0.02)


def test_of_little_little_is_learned_and_of_nothing_nothing() -> None:
    distances = [
        np.abs(weight_vector(weights_of(drawn(number, weight_vector({"text": 0.9}), 1))) - PRIOR)
        for number in (3, 3_000)
    ]
    assert distances[0].sum() < 0.15 < distances[1].sum()
    nothing = examples(np.full((3, 4, len(SOURCES)), 0.25), np.zeros((3, 4)))
    assert calibrated_fusion(nothing) is None
    assert calibrated_fusion(Examples.joined([])) is None
    weights, temperature = fusion_of(RankingSettings(), None)
    assert (weights.tolist(), temperature) == (PRIOR.tolist(), 1.0)


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_the_weights_may_be_set_as_they_are(num_requests: int, seed: int) -> None:
    """They leave the two-tower a share, name what weighs anything, and are the same again."""
    true = np.random.default_rng(seed).dirichlet(np.ones(len(SOURCES)))
    found = weights_of(drawn(num_requests, true, seed))
    assert found == weights_of(drawn(num_requests, true, seed))
    assert RankingSettings(weights=found).weights == found
    assert all(weight >= 0.001 for weight in found.values())
    assert sum(found.values()) < 1


def test_what_was_found_counts_by_its_labels_and_the_root_of_how_much_it_was() -> None:
    random = np.random.default_rng(2)
    shares = softmax(random.normal(size=(60, 10, len(SOURCES))))
    labels = np.zeros((60, 10))
    labels[:, 0], labels[:30, 1] = 0.2, 1.0
    expected = weights_of(examples(shares, labels))
    assert weights_of(examples(shares, labels * 0.5)) == expected
    assert weights_of(examples(shares, labels > 0)) != expected
    # Four things found by one request count half of what they count found by four.
    apart = examples(np.tile(shares[:1], (40, 1, 1)), np.tile(np.eye(10)[:4], (10, 1)))
    together = np.tile(np.eye(10)[:4].sum(axis=0), (20, 1))
    assert weights_of(examples(np.tile(shares[:1], (20, 1, 1)), together)) == weights_of(apart)


@pytest.mark.parametrize("fusion", ["mixture", "reciprocal_rank", "voting"])
def test_weights_that_are_set_go_before_what_is_learned(fusion: str) -> None:
    learned = CalibratedFusion(weights={"text": 0.6}, temperature=2.0)

    def weights(given: Weights | None) -> dict[str, float]:
        settings = RankingSettings.model_validate({"fusion": fusion, "weights": given})
        found = fusion_of(settings, learned)
        assert found.temperature == 2.0
        return {
            name: weight
            for name, weight in zip(SOURCES, found.weights.tolist(), strict=True)
            if weight
        }

    own = 1.0 if fusion != "mixture" else 0.9
    assert weights({"ease": 0.1}) == {"two_tower": own, "ease": 0.1}
    assert weights(None) == {"two_tower": 0.4, "text": 0.6}


@pytest.mark.parametrize("fusion", ["mixture", "reciprocal_rank", "voting"])
def test_the_ranker_is_held_against_the_order_that_would_serve(fusion: str) -> None:
    random = np.random.default_rng(0)
    settings = ServingSettings.model_validate({"ranking": {"fusion": fusion}})
    rows = ItemRows([f"i{number}" for number in range(9)])
    stage = RankingStage(
        TrendingSource(rows, settings), CoVisitationSource(rows, settings), settings
    )
    proposals = {
        name: Candidates(random.permutation(9)[:6], random.random(6).astype(np.float32))
        for name in ("two_tower", "ease", "trending")
    }
    own = random.normal(size=9).astype(np.float32)
    pool = Pool(np.arange(9), proposals, {"two_tower": own}, np.zeros(9, np.int64))
    learned = CalibratedFusion(weights={"ease": 0.3, "text": 0.2}, temperature=2.0)
    context: Any = SimpleNamespace(
        model=SimpleNamespace(ranking=SimpleNamespace(ranker=None, fusion=learned))
    )
    served = stage.score(pool, context)
    opinions = Opinions.of_pool(stage, pool)
    asked = opinions.fused(fusion_of(settings.ranking, learned), np.zeros(9, np.int64))
    np.testing.assert_array_equal(np.argsort(-served), np.argsort(-asked))
