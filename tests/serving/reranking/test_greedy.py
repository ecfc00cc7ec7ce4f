"""One pass: knobs, caps, and what they promise of every beginning of the list."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.reranking.calibration import PRIOR, CalibrationGain, CategoryMix, category_mix
from serving.reranking.caps import NO_GROUP, Cap
from serving.reranking.diversity import (
    OTHER_CATEGORY,
    SAME_CATEGORY,
    VOLUME_WEIGHT,
    DeterminantalGain,
    MarginalRelevance,
)
from serving.reranking.greedy import Gain, Term, greedy_order, growing, relevance_of
from serving.reranking.likeness import Likeness

knobs = st.sampled_from([0.0, 0.2, 0.5, 1.0])
sizes = st.integers(0, 40)
seeds = st.integers(0, 2**32 - 1)
codes = st.lists(st.integers(0, 6), max_size=40).map(lambda values: np.array(values, np.int32))


def unit_vectors(size: int, seed: int, dimension: int = 8) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(size, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def some_scores(size: int, seed: int) -> np.ndarray:
    """Best first, with ties."""
    scores = np.random.default_rng(seed).integers(-5, 5, size)
    return np.sort(scores)[::-1].astype(np.float64)


def unboosted(scores: np.ndarray) -> np.ndarray:
    return relevance_of(scores, np.zeros(len(scores)))


def gain(
    method: str, embeddings: np.ndarray, count: int, categories: np.ndarray | None = None
) -> Gain:
    if categories is None:
        categories = np.zeros(len(embeddings), np.int32)
    if method == "mmr":
        return MarginalRelevance(of_taste(embeddings), categories)
    return DeterminantalGain(of_taste(embeddings), categories, count)


def of_taste(embeddings: np.ndarray) -> Likeness:
    return Likeness(embeddings, np.arange(len(embeddings)))


def cap(groups: np.ndarray, most: int, window: int) -> Cap:
    return Cap(groups, np.arange(len(groups)), most, window)


def ordered(
    relevance: np.ndarray, terms: Sequence[Term], caps: Sequence[Cap], count: int
) -> np.ndarray:
    """The order where nothing else has a place between two candidates."""
    order = []
    for candidate in greedy_order(relevance, terms, caps, count):
        order.append(candidate)
        for each in caps:
            each.choose(candidate)
    return np.array(order, np.int64)


methods = st.sampled_from(["mmr", "dpp"])


@given(sizes, seeds, methods, knobs, knobs, st.integers(1, 5), st.integers(0, 50))
def test_every_order_is_a_permutation_and_a_shorter_one_its_beginning(
    size: int, seed: int, method: str, diversity: float, calibration: float, most: int, count: int
) -> None:
    embeddings, relevance = unit_vectors(size, seed), unboosted(some_scores(size, seed))
    groups = np.random.default_rng(seed).integers(0, 5, size).astype(np.int32)

    def order(count: int) -> list[int]:
        terms = [
            Term(growing(diversity, count), gain(method, embeddings, count, groups)),
            Term(calibration, CalibrationGain(groups, category_mix(groups[: size // 3]))),
        ]
        caps = [cap(groups, most, 10)]
        return ordered(relevance, terms, caps, count).tolist()

    whole = order(size)
    assert sorted(whole) == list(range(size))
    assert order(count) == whole[:count]


@given(st.floats(0, 1), st.integers(0, 60), st.integers(0, 60))
def test_a_growing_weight_spares_the_first_and_is_the_knob_in_the_eighth_place(
    knob: float, count: int, more: int
) -> None:
    weights = growing(knob, count)
    assert ((weights >= 0) & (weights <= 1)).all()
    assert (np.diff(weights) >= 0).all()
    assert weights[:1].tolist() == [0.0] * min(count, 1)
    assert growing(knob, 8)[7] == pytest.approx(knob)
    assert growing(knob, count + more)[:count].tolist() == weights.tolist()
    assert len(set(growing(knob, 10 + more)[9:].tolist())) == 1


@given(sizes, seeds, methods)
def test_knobs_at_0_change_nothing_and_ties_stay_in_order(
    size: int, seed: int, method: str
) -> None:
    embeddings, relevance = unit_vectors(size, seed), unboosted(some_scores(size, seed))
    groups = np.random.default_rng(seed).integers(0, 5, size).astype(np.int32)
    terms = [
        Term(0.0, gain(method, embeddings, size)),
        Term(0.0, CalibrationGain(groups, category_mix(groups))),
    ]
    assert ordered(relevance, terms, [], size).tolist() == list(range(size))
    assert ordered(relevance, [], [], size).tolist() == list(range(size))


@given(st.integers(1, 20), seeds, st.sampled_from([-9.0, 0.5, 13.0]))
def test_a_boost_leaves_the_others_as_relevant_as_they_were(
    size: int, seed: int, boost: float
) -> None:
    scores, boosted = some_scores(size, seed), seed % size
    boosts = np.where(np.arange(size) == boosted, boost, 0.0)
    plain, relevance = unboosted(scores), relevance_of(scores, boosts)
    assert np.delete(relevance, boosted).tolist() == np.delete(plain, boosted).tolist()
    # It ranks where a score so much higher would.
    higher = scores[boosted] + boost
    assert np.count_nonzero(relevance > relevance[boosted]) == np.count_nonzero(
        np.delete(scores, boosted) > higher
    )


@given(sizes, seeds)
def test_relevance_is_the_probability_over_that_of_the_best_and_above_it_a_logarithm(
    size: int, seed: int
) -> None:
    scores = some_scores(size, seed) - 3
    boosts = np.random.default_rng(seed).integers(-2, 3, size).astype(np.float64)
    beside = [score - max(scores) + boost for score, boost in zip(scores, boosts, strict=True)]
    wanted = [np.exp(each) if each <= 0 else 1 + each for each in beside]
    assert relevance_of(scores, boosts) == pytest.approx(np.array(wanted))


@pytest.mark.parametrize("kinds", [1, 2, 5])
def test_of_many_candidates_of_one_relevance_the_earlier_come_first(kinds: int) -> None:
    relevance = np.arange(300) % kinds / kinds
    order = [each for kind in range(kinds)[::-1] for each in range(kind, 300, kinds)]
    assert list(greedy_order(relevance, [], [], 300)) == order


@given(methods, st.sampled_from([8, 31, 127]), st.integers(1, 4), sizes, seeds)
def test_equal_candidates_stay_in_order(
    method: str, dimension: int, kinds: int, size: int, seed: int
) -> None:
    kind = np.random.default_rng(seed).integers(0, kinds, size)
    embeddings = unit_vectors(kinds, seed, dimension)[kind]
    relevance = unboosted(some_scores(kinds, seed))[kind]
    categories = (kind % 3).astype(np.int32)
    terms = [
        Term(0.4, gain(method, embeddings, size, categories)),
        Term(0.2, CalibrationGain(categories, category_mix(categories[: size // 3]))),
    ]
    order = ordered(relevance, terms, [cap(categories, 2, 5)], size)
    for each in range(kinds):
        of_kind = order[kind[order] == each]
        assert of_kind.tolist() == sorted(of_kind.tolist())


@given(methods, st.integers(0, 9), seeds, knobs, knobs, st.integers(1, 3), st.integers(2, 6))
def test_every_place_goes_to_the_best_by_all_terms_under_the_caps(
    method: str,
    size: int,
    seed: int,
    diversity: float,
    calibration: float,
    most: int,
    window: int,
) -> None:
    embeddings, relevance = unit_vectors(size, seed, 16), unboosted(some_scores(size, seed))
    categories = np.random.default_rng(seed).integers(0, 3, size).astype(np.int32)
    mix, weights = category_mix(categories[: size // 2]), growing(diversity, size)
    terms = [
        Term(weights, gain(method, embeddings, size, categories)),
        Term(calibration, CalibrationGain(categories, mix)),
    ]
    caps = [cap(categories, most, window)]
    order = ordered(relevance, terms, caps, size).tolist()
    assert sorted(order) == list(range(size))
    for place in range(size):
        before = order[:place]
        recent = categories[before[max(place - window + 1, 0) :]].tolist()
        values, over = {}, {}
        for each in set(range(size)) - set(before):
            category = int(categories[each])
            over[each] = category != NO_GROUP and recent.count(category) >= most
            added = (
                plain_marginal_relevance(embeddings, categories, before, each)
                if method == "mmr"
                else plain_determinantal_gain(embeddings, categories, before, each)
            )
            weight = float(weights[place])
            values[each] = (
                (1 - weight) * (1 - calibration) * float(relevance[each])
                + weight * added
                + calibration * plain_calibration_gain(mix, categories[before].tolist(), category)
            )
        chosen, least = order[place], min(over.values())
        assert over[chosen] == least
        best = max(value for each, value in values.items() if over[each] == least)
        assert values[chosen] >= best - 1e-4


def plain_marginal_relevance(
    embeddings: np.ndarray, categories: np.ndarray, before: list[int], candidate: int
) -> float:
    category = categories[candidate]
    alike = [
        float(embeddings[each] @ embeddings[candidate])
        + SAME_CATEGORY * (category != NO_GROUP and category == categories[each])
        for each in before
    ]
    return min([1.0, *(-likeness for likeness in alike)])


def plain_determinantal_gain(
    embeddings: np.ndarray, categories: np.ndarray, before: list[int], candidate: int
) -> float:
    def log_determinant(chosen: list[int]) -> float:
        tastes = embeddings[chosen].astype(np.float64)
        same = categories[chosen][:, None] == categories[chosen]
        kernel = (1 + tastes @ tastes.T) / 2 * np.where(same, 1.0, OTHER_CATEGORY)
        return float(np.linalg.slogdet(kernel)[1]) if chosen else 0.0

    return VOLUME_WEIGHT * (log_determinant([*before, candidate]) - log_determinant(before))


def plain_calibration_gain(mix: CategoryMix, before: list[int], category: int) -> float:
    share = dict(zip(mix.categories.tolist(), mix.shares.tolist(), strict=True)).get(category, 0.0)
    if not share:
        return 0.0
    gain = share * np.log1p(1 / (before.count(category) + PRIOR * share))
    return float(gain) * (len(before) + PRIOR)


@given(st.integers(1, 7), seeds, st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_the_determinantal_gain_is_that_of_the_determinant(
    size: int, seed: int, diversity: float
) -> None:
    embeddings, relevance = unit_vectors(size, seed), unboosted(some_scores(size, seed))
    categories = np.random.default_rng(seed).integers(0, 3, size).astype(np.int32)
    found = ordered(
        relevance, [Term(diversity, gain("dpp", embeddings, size, categories))], [], size
    ).tolist()

    for place in range(size):
        before = found[:place]
        values = {
            each: (1 - diversity) * relevance[each]
            + diversity * plain_determinantal_gain(embeddings, categories, before, each)
            for each in range(size)
            if each not in before
        }
        # Seven directions in eight dimensions are rarely so close that float32 cannot tell.
        assert values[found[place]] >= max(values.values()) - 1e-3


@given(st.integers(2, 12), seeds)
def test_the_marginal_relevance_is_that_of_the_paper(size: int, seed: int) -> None:
    embeddings, relevance = unit_vectors(size, seed), unboosted(some_scores(size, seed))
    categories = np.random.default_rng(seed).integers(0, 3, size).astype(np.int32)
    likeness = embeddings @ embeddings.T
    likeness += SAME_CATEGORY * ((categories[:, None] == categories) & (categories > NO_GROUP))
    terms = [Term(0.4, gain("mmr", embeddings, size, categories))]
    found = ordered(relevance, terms, [], size).tolist()
    assert found[0] == int(np.argmax(relevance))
    for place in range(1, size):
        values = 0.6 * relevance - 0.4 * likeness[:, found[:place]].max(axis=1)
        values[found[:place]] = -np.inf
        assert values[found[place]] == pytest.approx(values.max(), abs=1e-6)


@given(codes, st.integers(1, 4), st.integers(2, 12), st.integers(2, 12))
def test_a_cap_holds_in_every_window_while_another_group_is_left(
    groups: np.ndarray, most: int, window: int, count: int
) -> None:
    relevance = unboosted(-np.arange(len(groups), dtype=np.float64))
    order = ordered(relevance, [], [cap(groups, most, window)], len(groups)).tolist()
    for place, candidate in enumerate(order):
        before = Counter(groups[order[max(place - window + 1, 0) : place]].tolist())

        def fits(each: int, before: Counter[int] = before) -> bool:
            return groups[each] == NO_GROUP or before[int(groups[each])] < most

        left = order[place:]
        if any(fits(each) for each in left):
            assert fits(candidate)
            # The best of those that fit.
            assert candidate == min(each for each in left if fits(each))
        else:
            assert candidate == min(left)


def test_of_two_caps_the_fewest_are_broken() -> None:
    brands = np.array([1, 1, 2], np.int32)
    categories = np.array([1, 1, 1], np.int32)
    caps = [cap(brands, 1, 20), cap(categories, 1, 20)]
    assert ordered(np.array([1.0, 0.9, 0.0]), [], caps, 3).tolist() == [0, 2, 1]


def divergence(mix: CategoryMix, categories: np.ndarray) -> float:
    """Kullback-Leibler, of the user's mix from that of a list with `PRIOR` places of the mix."""
    counts = np.array([np.count_nonzero(categories == each) for each in mix.categories])
    shares = (counts + PRIOR * mix.shares) / (len(categories) + PRIOR)
    return float(np.sum(mix.shares * np.log(mix.shares / shares)))


@given(codes, codes, seeds)
def test_calibration_at_1_never_raises_the_divergence(
    history: np.ndarray, candidates: np.ndarray, seed: int
) -> None:
    mix = category_mix(history)
    relevance = unboosted(some_scores(len(candidates), seed))
    terms = [Term(1.0, CalibrationGain(candidates, mix))]
    order = ordered(relevance, terms, [], len(candidates))
    shuffled = np.random.default_rng(seed).permutation(len(candidates))
    for count in range(len(candidates) + 1):
        least = divergence(mix, candidates[order[:count]])
        assert least <= divergence(mix, candidates[:count]) + 1e-9
        assert least <= divergence(mix, candidates[shuffled[:count]]) + 1e-9


@given(codes)
def test_a_mix_is_of_what_has_a_category(history: np.ndarray) -> None:
    mix = category_mix(history)
    known = history[history != NO_GROUP]
    assert mix.shares.sum() == pytest.approx(1.0 if len(known) else 0.0)
    assert set(mix.categories.tolist()) == set(known.tolist())


def test_a_user_without_interests_is_calibrated_to_none() -> None:
    groups = np.array([1, 2, 0], np.int32)
    terms = [Term(0.5, CalibrationGain(groups, category_mix(np.empty(0, np.int32))))]
    assert ordered(np.array([1.0, 0.5, 0.0]), terms, [], 3).tolist() == [0, 1, 2]
