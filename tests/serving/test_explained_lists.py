"""Why an item is in a list of a bundle that ranks: by the history, and by the features."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from feature_repo.history import UserHistory
from feature_repo.online_features import UserEmbedding
from serving.ranking.attribution import feature_effects
from serving.ranking.feature_names import feature_names
from serving.ranking.ranker import Ranker
from serving.ranking.ranking_stage import RankingStage
from serving.ranking.reasons import about
from serving.source_names import SOURCES
from serving.sources.candidate_source import Context
from serving.user_acts import UserActs
from tests.support.tiny_bundle import (
    tiny_rank_weights,
    tiny_ranker_layer,
    tiny_ranking,
)
from tests.support.tiny_ranked_lists import (
    NUM_ITEMS,
    REGULAR,
    SETTINGS,
    items,
    ranked_shop,
    settings,
)
from tests.support.tiny_recommender import NOW, Shop, event


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return ranked_shop(tmp_path_factory.mktemp("ranker"), "ranker")


def test_the_history_that_weighs_most_is_named(shop: Shop) -> None:
    answered = {item.item_id: item for item in items(shop, limit=100, explain=True)}

    def history(item_id: str) -> list[tuple[str, str, float]]:
        explanation = answered[item_id].explanation
        assert explanation is not None
        return [(each.item_id, each.event_type, each.share) for each in explanation.history]

    # Proposed by "ease" alone, as the next but one of i22, and by what trends.
    assert "ease" in answered["i24"].sources
    assert history("i24") == [("i22", "purchase", pytest.approx(1.0))]
    assert answered["i24"].reason == "because you bought novels novels model 22"
    # The next of i22, and the next but one of i21: 1 to a quarter, both of the same day.
    assert history("i23") == [
        ("i22", "purchase", pytest.approx(0.8, abs=1e-3)),
        ("i21", "view", pytest.approx(0.2, abs=1e-3)),
    ]
    assert history("i33") == [("i21", "view", pytest.approx(1.0))]
    assert answered["i33"].reason == "because you viewed kettles kettles model 21"
    assert answered["i10"].reason == "you often buy this again"
    assert answered["i22"].reason == "you bought this"
    for item in answered.values():
        shares = [share for _, _, share in history(item.item_id)]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 1.0001


def test_what_only_trends_is_explained_by_that(shop: Shop) -> None:
    trends = settings(sources=["trending", "category"])
    answered = {item.item_id: item for item in items(shop, trends, limit=4, explain=True)}
    assert answered["i65"].sources == ("category", "trending")
    assert answered["i65"].reason == "popular in shoes now"
    # Lamps are in nobody's history here.
    assert answered["i24"].reason == "trending now"
    explanation = answered["i24"].explanation
    assert explanation is not None
    assert explanation.history == ()


def test_what_was_hidden_speaks_for_nothing(tmp_path: Path) -> None:
    data = replace(tiny_ranking(NUM_ITEMS, has_ranker=False), weightless=("hide",))
    shop = ranked_shop(tmp_path, "tables", data)
    hider = UserHistory("hider", (*REGULAR.events, event("i31", 5, "hide")))
    shop.online.push([hider])
    # The two-tower reads a hide as an event of its type.
    changes = {"sources": frozenset(SOURCES) - {"two_tower"}, "calibration": 0.5, "explain": True}
    answered = items(shop, limit=60, user_id="hider", **changes)
    assert answered == items(shop, limit=60, **changes)
    assert "i31" in {item.item_id for item in answered}
    hidden = items(shop, limit=60, user_id="hider", exclude_seen=frozenset({"hide"}), **changes)
    assert {item.item_id for item in answered} - {item.item_id for item in hidden} == {"i31"}
    # A view of it would have been a reason.
    viewer = UserHistory("hider", (*REGULAR.events, event("i31", 5)))
    shop.online.push([viewer])
    answered = items(shop, limit=60, user_id="hider", **changes)
    assert any(
        item.explanation and "i31" in {each.item_id for each in item.explanation.history}
        for item in answered
    )


def test_nothing_is_explained_unasked(shop: Shop) -> None:
    plain = items(shop)
    assert all(item.reason is None and item.explanation is None for item in plain)
    explained = items(shop, explain=True)
    assert [replace(item, reason=None, explanation=None) for item in explained] == list(plain)


def test_the_strongest_features_are_those_that_move_the_score(shop: Shop) -> None:
    for item in items(shop, explain=True):
        assert item.explanation is not None
        features = item.explanation.features
        assert 0 < len(features) <= 5
        assert {each.name for each in features} <= set(feature_names(SOURCES))
        sizes = [abs(each.effect) for each in features]
        assert sizes == sorted(sizes, reverse=True)
        # What is the same for all candidates tells none of them apart.
        assert "num_events" not in {each.name for each in features}
    for changed in (settings(learned=False), settings(sources=[])):
        for item in items(shop, changed, explain=True):
            assert item.explanation is not None
            assert not item.explanation.features or changed.ranking.learned


def test_the_effects_of_a_linear_ranker_are_its_summands() -> None:
    names, weights = feature_names(SOURCES), tiny_rank_weights()
    ranker = Ranker(SOURCES, [tiny_ranker_layer()])
    features = np.random.default_rng(0).normal(size=(30, len(names))).astype(np.float32)
    summands = weights * (features - features.mean(axis=0))
    places = np.array([4, 29, 0])
    for place, found in zip(places, feature_effects(ranker, features, places), strict=True):
        strongest = np.argsort(-np.abs(summands[place]))[:5]
        assert [each.name for each in found] == [names[column] for column in strongest]
        assert [each.words for each in found] == [about(each.name) for each in found]
        assert [each.value for each in found] == features[place, strongest].tolist()
        np.testing.assert_allclose(
            [each.effect for each in found], summands[place, strongest], atol=1e-4
        )
    assert feature_effects(ranker, features, places[:0]) == []


def test_contributions_add_up_to_the_scores(shop: Shop) -> None:
    """Shares are of what a source says, and of nothing else."""
    stage = RankingStage(shop.trending, shop.co_visitation, SETTINGS)
    view, acts = shop.catalogue.view(), UserActs.of(REGULAR.events, shop.catalogue.rows)
    context = Context(
        shop.holder.current, view, view.available, False, None, NOW, REGULAR.events, acts
    )
    every = np.arange(NUM_ITEMS)[::-1]
    for source in stage.of_history:
        found = source.contributions(context, every)
        assert found.shape == (len(acts), NUM_ITEMS)
        expected = source.propose(context, NUM_ITEMS).score_of(every)
        np.testing.assert_allclose(found.sum(axis=0), expected, rtol=1e-5, atol=1e-6)
        assert expected.any()


@pytest.mark.parametrize("by_request", [False, True])
def test_what_no_source_of_events_proposes_is_ranked_by_them_explained_or_not(
    shop: Shop, *, by_request: bool
) -> None:
    """The ranker reads what the user acted on, though the embedding is stored."""
    model, newest = shop.holder.current, REGULAR.events[-1].timestamp
    vector = model.encode_query(REGULAR)
    asked = frozenset({"two_tower", "trending"})
    changed = SETTINGS if by_request else settings(sources=sorted(asked))
    changes = {"limit": 50, "sources": asked if by_request else None}
    shop.online.push([UserEmbedding("regular", vector, model.bundle_version, newest)])
    try:
        plain = items(shop, changed, **changes)
        explained = items(shop, changed, explain=True, **changes)
    finally:
        shop.online.delete(UserEmbedding, ["regular"])
    assert [replace(item, reason=None, explanation=None) for item in explained] == list(plain)
