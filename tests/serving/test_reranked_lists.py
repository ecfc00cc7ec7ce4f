"""What diversity, calibration, exploration and caps do to a list."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from feature_repo.schema import Item
from serving.live_model import LiveModel, ModelHolder
from serving.ranking.list_rankings import GivenRanking
from serving.requests import ListRequest
from serving.reranking.diversity import OTHER_CATEGORY
from serving.reranking.reranker import Reranker
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context
from serving.sources.new_arrivals import NewArrivalsSource
from serving.sources.two_tower import TwoTowerSource
from tests.support.tiny_lists import ITEMS, SETTINGS, reranking, sources
from tests.support.tiny_recommender import NOW, Shop, event


@pytest.mark.parametrize("method", ["mmr", "dpp"])
def test_diversity_lowers_the_likeness_within_a_list(shop: Shop, method: str) -> None:
    reranking(shop, diversity_method=method)

    def likeness(diversity: float) -> float:
        ids = shop.ids(diversity=diversity, limit=10)
        vectors, _ = shop.holder.current.table.embeddings_of(ids)
        paths = np.array([" > ".join(ITEMS[item_id].categories) for item_id in ids])
        cosines = vectors @ vectors.T
        if method == "mmr":
            return float(cosines.mean())
        # The kernel, in which categories weigh more than the cosines of this tiny bundle.
        kernel = (1 + cosines) / 2 * np.where(paths[:, None] == paths, 1.0, OTHER_CATEGORY)
        return float(kernel.mean())

    assert likeness(0.9) < likeness(0.5) <= likeness(0.0)


def test_exploration_gives_a_share_of_places_to_new_arrivals(shop: Shop) -> None:
    reranking(shop, uncertain_events=0)
    found = sources(shop, limit=100, exploration=0.1)
    explored = [item_id for item_id, by in found.items() if by[-1] == "exploration"]
    assert len(explored) == 10
    for item_id in explored:
        published = ITEMS[item_id].published_at
        assert published is not None
        assert NOW - published <= timedelta(days=14)
    assert ("new_arrivals", "exploration") in found.values()
    # `request_id` draws.
    assert found == sources(shop, limit=100, exploration=0.1)
    other = sources(shop, limit=100, exploration=0.1, request_id="other")
    assert list(found.items()) != list(other.items())


def test_one_new_arrival_more_changes_no_draw_but_by_taking_places(shop: Shop) -> None:
    reranking(shop, uncertain_events=0)

    def explored() -> list[str]:
        found = sources(shop, limit=100, exploration=0.5)
        return [item_id for item_id, by in found.items() if by[-1] == "exploration"]

    before = explored()
    new = [f"new {number}" for number in range(20)]
    try:
        for item_id in new:
            shop.catalogue.upsert([Item(item_id=item_id, title=item_id, published_at=NOW)])
            after = [each for each in explored() if each not in new]
            assert after == [each for each in before if each in after]
        assert set(new) & set(explored())
    finally:
        shop.catalogue.delete(new)


def test_exploration_reaches_what_training_hardly_saw(shop: Shop) -> None:
    # Training saw no events of any item: the candidates are uncertain, all of them.
    reranking(shop)
    drawn = [sources(shop, exploration=0.1, request_id=str(seed)) for seed in range(20)]
    assert any(("two_tower", "exploration") in found.values() for found in drawn)
    model = shop.holder.current
    seen = replace(model.space, counts=dict.fromkeys(ITEMS, 5))
    shop.holder = ModelHolder(LiveModel(seen, model.encoder, model.table, model.index))
    found = sources(reranking(shop), limit=100, exploration=0.1)
    known = [item_id for item_id, by in found.items() if by[-1] == "exploration"]
    assert known
    for item_id in known:
        assert NOW - (ITEMS[item_id].published_at or NOW) <= timedelta(days=14)


def test_settings_are_what_a_request_leaves_open(shop: Shop) -> None:
    knobs = {"diversity": 0.5, "calibration": 0.3, "exploration": 0.2, "brand_cap": 2}
    asked = shop.ids(**knobs)
    plain = shop.ids()
    reranking(shop, **knobs)
    assert shop.ids() == asked != plain
    off = {"diversity": 0.0, "calibration": 0.0, "exploration": 0.0, "brand_cap": 500}
    assert shop.ids(**off) == plain


def test_no_more_of_one_brand_or_category_than_asked_while_there_are_others(shop: Shop) -> None:
    shop.recommender = shop.recommender_with(SETTINGS.model_copy(update={"rerank_size": 500}))
    assert max(Counter(ITEMS[i].brand for i in shop.ids(limit=12)).values()) > 4
    assert max(Counter(ITEMS[i].brand for i in shop.ids(limit=12, brand_cap=4)).values()) == 4
    assert max(Counter(ITEMS[i].categories for i in shop.ids(category_cap=2)).values()) == 2
    # What is explored counts too, and so do the others beside it.
    for seed in range(20):
        capped = {"limit": 12, "exploration": 0.4, "request_id": str(seed)}
        for cap in ("brand_cap", "category_cap"):
            ids = shop.ids(**capped, **{cap: 4})
            labels = [ITEMS[i].brand if cap == "brand_cap" else ITEMS[i].categories for i in ids]
            assert max(Counter(labels).values()) <= 4
    # Three brands with one place each: the cap gives way.
    assert len(shop.ids(limit=20, brand_cap=1)) == 20


def test_calibration_brings_back_the_lesser_interest(shop: Shop) -> None:
    shop.recommender = shop.recommender_with(SETTINGS.model_copy(update={"rerank_size": 500}))
    session = (*(event(f"i{n}", 90 - n) for n in range(0, 40, 5)), event("i1", 5), event("i6", 4))

    def kettles(calibration: float) -> int:
        ids = shop.ids(None, session=session, limit=20, calibration=calibration)
        return sum(ITEMS[item_id].categories[0] == "kettles" for item_id in ids)

    assert kettles(0.0) < kettles(1.0) == 4


def test_what_was_found_beforehand_keeps_its_order_but_for_rules(shop: Shop) -> None:
    view, query = shop.catalogue.view(), np.ones(16, np.float32)
    context = Context(shop.holder.current, view, view.available, False, query, NOW)
    found = TwoTowerSource(SETTINGS).propose(context, 50)
    ids = shop.catalogue.rows.ids_of(found.rows).tolist()
    few = np.zeros_like(context.allowed)
    few[found.rows[[2, 5, 9]]] = True
    filtered = replace(context, allowed=few, filtered=True)
    for count in (2, 5):
        left = GivenRanking(found).rank(filtered, count)
        assert left.rows.tolist() == found.rows[[2, 5, 9]][:count].tolist()
        assert left.scores.tolist() == found.scores[[2, 5, 9]][:count].tolist()
    new_arrivals = NewArrivalsSource(SETTINGS)
    plain = Reranker(SETTINGS, new_arrivals).rerank(
        GivenRanking(found), context, ListRequest("r", limit=5, offset=3)
    )
    assert plain.rows.tolist() == found.rows[:8].tolist()
    assert plain.page(3, 5).scores.tolist() == found.scores[3:8].tolist()
    pin = {"kind": "pin", "filter": "brand = 'kiwi'", "place": 1}
    ruled = ServingSettings.model_validate(SETTINGS.model_dump() | {"rules": [pin]})
    ranked = Reranker(ruled, new_arrivals).rerank(
        GivenRanking(found), context, ListRequest("r", limit=8)
    )
    first = next(place for place, item_id in enumerate(ids) if ITEMS[item_id].brand == "kiwi")
    expected = [first, *(place for place in range(9) if place != first)][:8]
    assert ranked.rows.tolist() == found.rows[expected].tolist()
    assert ranked.scores.tolist() == found.scores[expected].tolist()
    assert list(ranked.sources) == [("pinned",), *[()] * 7]
