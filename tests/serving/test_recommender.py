"""What a list is made of, and what it says of itself."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from feature_repo.history import UserHistory
from feature_repo.in_memory_online_features import InMemoryOnlineFeatures
from feature_repo.online_features import ItemStatistics, UserEmbedding
from feature_repo.times import microseconds, minute_of
from serving.guarded_features import GuardedFeatures
from serving.ranking.settings import RankingSettings
from serving.requests import RecommendRequest, SimilarRequest, TrendingRequest, UnknownItemError
from serving.settings import ServingSettings
from serving.source_names import SOURCES
from tests.support.tiny_lists import ITEMS, SETTINGS, TOGETHER, available
from tests.support.tiny_recommender import LOST, NOW, SHOPPER, Shop, event


def without(source: str) -> ServingSettings:
    sources = tuple(name for name in SOURCES if name != source)
    return SETTINGS.model_copy(update={"ranking": RankingSettings(sources=sources)})


def test_a_shopper_gets_what_is_like_the_history(shop: Shop) -> None:
    ids = shop.ids(limit=50)
    assert len(ids) == len(set(ids)) == 50
    assert {ITEMS[item_id].categories[0] for item_id in ids} == {"shoes"}
    assert set(ids) <= available(shop)


def test_a_stored_embedding_alone_answers_as_the_history_does(shop: Shop) -> None:
    fresh = shop.ids()
    model = shop.holder.current
    vector = model.encoder.encode_queries([SHOPPER])[0]
    newest = SHOPPER.events[-1].timestamp
    shop.online.push([UserEmbedding("shopper", vector, model.bundle_version, newest)])
    shop.online.delete(UserHistory, ["shopper"])
    assert shop.ids() == fresh


def test_an_embedding_of_another_model_or_moment_is_not_used(shop: Shop) -> None:
    fresh, nonsense = shop.ids(), -np.ones(16, np.float32)
    newest, version = SHOPPER.events[-1].timestamp, shop.holder.current.bundle_version
    shop.online.push([UserEmbedding("shopper", nonsense, "another", newest)])
    assert shop.ids() == fresh
    shop.online.push([UserEmbedding("shopper", nonsense, version, newest - 1)])
    assert shop.ids(exclude_seen=frozenset({"none"})) == fresh


def test_an_embedding_of_nothing_that_is_in_the_catalogue_is_not_used(shop: Shop) -> None:
    popular, model = shop.ids("lost"), shop.holder.current
    assert popular == shop.ids("nobody")
    vector = model.encoder.encode_queries([SHOPPER])[0]
    newest = LOST.events[-1].timestamp
    shop.online.push([UserEmbedding("lost", vector, model.bundle_version, newest)])
    assert shop.ids("lost") == popular


def test_a_session_and_a_page_change_the_list_at_once(shop: Shop) -> None:
    clicks = tuple(event(f"i{number}", 1) for number in range(1, 31, 5))
    assert {ITEMS[i].categories[0] for i in shop.ids(session=clicks)} == {"kettles"}
    assert {ITEMS[i].categories[0] for i in shop.ids(None, session=clicks)} == {"kettles"}
    ids = shop.ids(None, context_item_ids=("i2", "i7"))
    assert {ITEMS[item_id].categories[0] for item_id in ids} == {"novels"}
    assert not {"i2", "i7"} & set(ids)


@pytest.mark.parametrize("user_id", ["nobody", "lost", None])
def test_an_unknown_user_gets_what_is_popular_then_what_is_new(shop: Shop, user_id: str) -> None:
    # What counts are as of the start of the minute.
    moment = microseconds(minute_of(NOW))
    shop.trending.update(
        [
            ItemStatistics("i7", moment, ("view",), (1.0,), (5.0,), (5.0,)),
            ItemStatistics("i8", moment, ("purchase",), (1.0,), (2.0,), (2.0,)),
            # More, but three days ago.
            ItemStatistics("i9", moment - 3 * 86_400_000_000, ("view",), (0,), (60.0,), (90.0,)),
            ItemStatistics("i11", moment, ("view",), (1.0,), (99.0,), (99.0,)),  # sold out
            ItemStatistics("i10", moment, ("play",), (1.0,), (9.0,), (9.0,)),
        ]
    )
    answer = shop.recommender.recommend(RecommendRequest("r", user_id, limit=6, explain=True))
    assert [item.item_id for item in answer.items] == ["i9", "i8", "i10", "i7", "i1", "i2"]
    assert [item.sources for item in answer.items] == [("popular",)] * 4 + [("new_arrivals",)] * 2
    assert answer.items[1].score == pytest.approx(10.0)
    assert answer.items[1].reason == "popular now"
    # What trends is counted over a day alone.
    trending = shop.recommender.trending(TrendingRequest("r", limit=5)).items
    assert [item.item_id for item in trending] == ["i8", "i10", "i7", "i9", "i1"]
    assert [item.sources for item in trending] == [("trending",)] * 4 + [("new_arrivals",)]


def test_trending_can_be_asked_for_a_category(shop: Shop) -> None:
    moment = microseconds(NOW)
    records = [ItemStatistics(f"i{n}", moment, ("view",), (1.0,), (n,), (1.0,)) for n in range(20)]
    shop.trending.update(records)
    answer = shop.recommender.trending(TrendingRequest("r", category="lamps", limit=3))
    assert [item.item_id for item in answer.items] == ["i18", "i13", "i8"]
    assert not shop.recommender.trending(TrendingRequest("r", category="it's' none")).items


def test_what_goes_together_is_proposed_and_named(shop: Shop) -> None:
    request = RecommendRequest("r", "shopper", limit=10)
    before = shop.recommender.recommend(request)
    assert {item.sources for item in before.items} == {("two_tower",)}
    shop.co_visitation.update([TOGETHER])
    after = shop.recommender.recommend(request)
    assert after.items[0].item_id == "i8"
    assert after.items[0].sources[-1] == "co_visitation"
    assert not {"i11", "gone"} & {item.item_id for item in after.items}
    hidden = shop.recommender.recommend(replace(request, exclude_item_ids=frozenset({"i8"})))
    assert "i8" not in {item.item_id for item in hidden.items}
    off = without("co_visitation")
    assert shop.recommender_with(off).recommend(request) == before


def test_what_trends_is_mixed_in_by_its_weight(shop: Shop) -> None:
    moment = microseconds(NOW)
    shop.trending.update([ItemStatistics("i9", moment, ("view",), (1.0,), (5.0,), (5.0,))])
    request = RecommendRequest("r", "shopper", limit=10)
    (first, *_) = shop.recommender.recommend(request).items
    assert (first.item_id, first.sources[-1]) == ("i9", "trending")
    off = without("trending")
    assert "i9" not in {
        item.item_id for item in shop.recommender_with(off).recommend(request).items
    }


def test_what_is_deleted_never_appears(shop: Shop) -> None:
    first = shop.ids()[0]
    shop.catalogue.delete([first])
    assert first not in shop.ids(limit=500)
    shop.catalogue.upsert([ITEMS[first]])
    assert shop.ids()[0] == first


def test_a_reason_names_the_nearest_item_of_the_history(shop: Shop) -> None:
    both = (event("i0", 5), event("i1", 3, "purchase"))
    request = RecommendRequest("r", None, session=both, limit=60, explain=True)
    for item in shop.recommender.recommend(request).items:
        if item.item_id in ("i0", "i1"):
            assert item.reason == {"i0": "you viewed this", "i1": "you bought this"}[item.item_id]
            continue
        if ITEMS[item.item_id].categories[0] == "shoes":
            assert item.reason == "because you viewed shoes shoes model 0"
        if ITEMS[item.item_id].categories[0] == "kettles":
            assert item.reason == "because you bought kettles kettles model 1"


def test_a_reason_names_no_item_that_is_gone(shop: Shop) -> None:
    asked = RecommendRequest("r", "shopper", limit=30, explain=True)
    bought = "because you bought shoes shoes model 5"
    assert bought in {item.reason for item in shop.recommender.recommend(asked).items}
    shop.catalogue.delete(["i5"])
    reasons = {item.reason for item in shop.recommender.recommend(asked).items}
    assert "because you viewed shoes shoes model 0" in reasons
    assert not [reason for reason in reasons if reason and "bought" in reason]
    shop.catalogue.delete(["i0"])
    for item in shop.recommender.recommend(asked).items:
        assert item.reason is None or "because" not in item.reason
    shop.catalogue.upsert([ITEMS["i0"].model_copy(update={"available": False})])


def test_similar_items_are_the_nearest_by_cosine(shop: Shop) -> None:
    answer = shop.recommender.similar(SimilarRequest("r", "i2", limit=10))
    assert "i2" not in {item.item_id for item in answer.items}
    assert {ITEMS[item.item_id].categories[0] for item in answer.items} == {"novels"}
    scores = [item.score for item in answer.items]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] <= 1.00001
    cheap = SimilarRequest("r", "i2", limit=100, filter="price < 10", offset=2)
    assert (
        len(shop.recommender.similar(cheap).items)
        == len([i for i in available(shop) if float(i[1:]) < 10]) - 3
    )
    with pytest.raises(UnknownItemError, match="Received: 'i9999'"):
        shop.recommender.similar(SimilarRequest("r", "i9999"))


def test_an_item_that_has_no_embedding_yet_is_like_those_of_its_text(shop: Shop) -> None:
    shop.catalogue.upsert([ITEMS["i2"].model_copy(update={"item_id": "just posted"})])
    items = shop.recommender.similar(SimilarRequest("r", "just posted", limit=10)).items
    shop.catalogue.delete(["just posted"])
    assert len(items) == 10
    assert {ITEMS[item.item_id].categories[0] for item in items} == {"novels"}


def test_whose_features_cannot_be_read_is_a_stranger_and_keeps_the_session(shop: Shop) -> None:
    class Away(InMemoryOnlineFeatures):
        def get(self, view: Any, keys: Sequence[str]) -> list[Any]:
            raise ConnectionError("Redis is away")

    clicks = (event("i1", 1), event("i6", 1))
    strangers = [shop.ids(None), shop.ids(None, session=clicks)]
    shop.online = GuardedFeatures(Away(), CollectorRegistry())  # type: ignore[assignment]
    shop.recommender = shop.recommender_with(SETTINGS)
    assert [shop.ids(), shop.ids(session=clicks)] == strangers
