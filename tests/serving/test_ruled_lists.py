"""What business rules do to a list."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from feature_repo.online_features import ItemStatistics
from feature_repo.times import microseconds, minute_of
from serving import catalogue
from serving.catalogue import Catalogue
from serving.filters import Filter, compile_filter
from serving.reload import open_current
from serving.requests import (
    RecommendRequest,
    SimilarRequest,
    TrendingRequest,
)
from serving.settings import ServingSettings
from tests.support.tiny_bundle import build_tiny_bundle, tiny_ranking
from tests.support.tiny_lists import ITEMS, RULES, SETTINGS, reranking, sources
from tests.support.tiny_ranked_lists import SETTINGS as RANKED
from tests.support.tiny_ranked_lists import ranked_shop
from tests.support.tiny_recommender import NOW, Shop


def test_rules_have_their_places(shop: Shop) -> None:
    before = sources(shop, limit=20)
    found = sources(reranking(shop, RULES), limit=20)
    ids = list(found)
    assert (ids[1], found["i3"]) == ("i3", ("two_tower", "pinned"))
    assert ITEMS[ids[14]].brand == "kiwi"
    assert found[ids[14]][-1] == "pinned"
    lamps = [item_id for item_id in ids if ITEMS[item_id].categories[0] == "lamps"]
    assert len(lamps) == 4
    assert {found[item_id][-1] for item_id in lamps} <= {"promoted", "pinned"}
    odd = [item_id for item_id in ids if ITEMS[item_id].tags == ()]
    assert len(odd) > sum(ITEMS[item_id].tags == () for item_id in before)
    answer = shop.recommender.recommend(RecommendRequest("r", "shopper", limit=3, explain=True))
    assert answer.items[1].reason == "picked by the shop"


def test_a_rule_may_be_about_an_age(shop: Shop) -> None:
    sql = "published_at > NOW() - INTERVAL '30 days'"
    found = sources(reranking(shop, [{"kind": "promote", "share": 0.5, "filter": sql}]), limit=20)
    recent = {
        item_id
        for item_id, item in ITEMS.items()
        if item.published_at and NOW - item.published_at < timedelta(days=30)
    }
    assert "promoted" in {by[-1] for by in found.values()}
    assert {item_id for item_id, by in found.items() if by[-1] == "promoted"} <= recent
    assert len(recent & found.keys()) >= 10


@pytest.mark.parametrize("kind", ["pin", "promote"])
@pytest.mark.parametrize("has_ranker", [False, True])
def test_what_is_placed_from_beyond_the_candidates_is_described_as_where_its_rule_is_the_filter(
    tmp_path: Path, has_ranker: bool, kind: str
) -> None:
    ranking = tiny_ranking(len(ITEMS), has_ranker=has_ranker)
    build_tiny_bundle(tmp_path, list(ITEMS.values()), ranking=ranking)
    catalogue = Catalogue()
    shop = Shop(open_current(tmp_path, catalogue, SETTINGS), catalogue, SETTINGS)
    last = shop.ids(limit=500)[-1]
    sql = f"item_id = '{last}'"
    request = RecommendRequest("r", "shopper")
    (alone,) = shop.recommender.recommend(replace(request, filter=sql)).items
    wish = {"place": 2} if kind == "pin" else {"share": 0.5}
    reranking(shop, [{"kind": kind, "filter": sql, **wish}])
    placed = shop.recommender.recommend(request).items[1]
    assert (placed.item_id, placed.score) == (last, alone.score)
    assert placed.sources == (*alone.sources, "pinned" if kind == "pin" else "promoted")


@pytest.mark.parametrize("name", ["trending", "stranger", "alone"])
def test_a_factor_multiplies_what_is_less_than_one_event(tmp_path: Path, name: str) -> None:
    """A day and a half later i9 counts .2, and i24 .54; asked alone, each source's sums do so."""
    shop = ranked_shop(tmp_path, "tables")
    boost = {"kind": "boost", "filter": "item_id = 'i9'", "lists": ["recommend", "trending"]}
    ease = {"kind": "boost", "filter": "item_id = 'i12'"}

    def first(factor: float) -> str:
        rules = [boost | {"factor": factor}, ease | {"factor": factor}]
        ruled = ServingSettings.model_validate(
            RANKED.model_dump() | {"popular_window": "day", "rules": rules}
        )
        later = shop.recommender_with(ruled, NOW + timedelta(days=1.5))
        if name == "trending":
            return later.trending(TrendingRequest("r", limit=1)).items[0].item_id
        request = RecommendRequest("r", "nobody", limit=1)
        if name == "alone":
            request = RecommendRequest("r", "regular", limit=1, sources=frozenset({"ease"}))
        return later.recommend(request).items[0].item_id

    # i65 counts 7.2 times what i9 does, and "ease" says about as much more of i23 than of i12.
    best, boosted = ("i23", "i12") if name == "alone" else ("i65", "i9")
    assert first(4.0) == best
    assert first(20.0) == boosted


def test_rules_hold_for_people_nothing_is_known_of(shop: Shop) -> None:
    boost = {"kind": "boost", "filter": "item_id = 'i20'", "factor": 50.0}
    ids = shop.ids("nobody", limit=20)
    assert ids[0] != "i20"
    reranking(shop, [*RULES, boost])
    ids = shop.ids("nobody", limit=20)
    assert ids[:2] == ["i20", "i3"]
    assert sum(ITEMS[item_id].categories[0] == "lamps" for item_id in ids) >= 4


def test_a_rule_shows_nothing_that_the_request_forbids(shop: Shop) -> None:
    reranking(shop, RULES)
    assert "i3" not in shop.ids(limit=500, exclude_item_ids=frozenset({"i3"}))
    assert {ITEMS[item_id].brand for item_id in shop.ids(filter="brand = 'acme'")} == {"acme"}
    assert "i5" not in reranking(
        shop, [{"kind": "pin", "filter": "item_id = 'i5'", "place": 1}]
    ).ids(exclude_seen=frozenset({"purchase"}))


def test_a_rule_ends_by_the_clock(shop: Shop) -> None:
    pin = {"kind": "pin", "filter": "item_id = 'i3'", "place": 1}
    minute = minute_of(NOW)
    for window, holds in (
        ({"valid_from": minute}, True),
        ({"valid_until": minute}, False),
        ({"valid_from": NOW - timedelta(days=1), "valid_until": NOW + timedelta(days=1)}, True),
        ({"valid_from": minute + timedelta(seconds=1)}, False),
    ):
        assert (reranking(shop, [pin | window]).ids()[0] == "i3") is holds


def test_a_rule_about_an_attribute_that_no_item_has_is_left_out(shop: Shop) -> None:
    plain = shop.ids()
    rule = {"kind": "promote", "filter": "attributes.sponsor = 'x'", "share": 0.5}
    with capture_logs() as logs:
        assert reranking(shop, [rule]).ids() == plain
        shop.ids()
    assert [log["event"] for log in logs] == ["rule_not_applied"]


def test_a_rule_that_a_wrong_value_has_stopped_is_applied_again_once_that_is_corrected(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ITEMS["i3"].model_copy(update={"attributes": {"margin": 9.0}})
    wrong = ITEMS["i4"].model_copy(update={"attributes": {"margin": "n/a"}})
    pin = {"kind": "pin", "filter": "attributes.margin > 5", "place": 1}
    tried: list[str] = []

    def counted(sql: str, now: str) -> Filter:
        tried.append(sql)
        return compile_filter(sql, now)

    monkeypatch.setattr(catalogue, "compile_filter", counted)
    try:
        shop.catalogue.upsert([right])
        reranking(shop, [pin])
        with capture_logs() as logs:
            for _ in range(2):
                assert shop.ids()[0] == "i3"
                shop.catalogue.upsert([wrong])
                assert shop.ids()[0] != "i3"
                tried.clear()
                shop.catalogue.upsert([ITEMS["i5"]])
                # It would fail in every request.
                assert shop.ids()[0] != "i3"
                assert tried == []
                shop.catalogue.upsert([ITEMS["i4"]])
            assert shop.ids()[0] == "i3"
        assert [log["event"] for log in logs] == ["rule_not_applied"] * 2
    finally:
        shop.catalogue.upsert([ITEMS["i3"], ITEMS["i4"]])


EVERYWHERE = [rule | {"lists": ["recommend", "similar", "trending"]} for rule in RULES]


@pytest.mark.parametrize("name", ["similar", "trending"])
def test_rules_hold_for_the_lists_that_they_are_about(shop: Shop, name: str) -> None:
    moment = microseconds(NOW)
    shop.trending.update(
        [ItemStatistics(f"i{n}", moment, ("view",), (1.0,), (n,), (1.0,)) for n in range(100)]
    )

    def answered(offset: int, limit: int) -> dict[str, tuple[str, ...]]:
        page = {"limit": limit, "offset": offset}
        if name == "similar":
            answer = shop.recommender.similar(SimilarRequest("r", "i2", **page))
        else:
            answer = shop.recommender.trending(TrendingRequest("r", **page))
        return {item.item_id: item.sources for item in answer.items}

    plain = answered(0, 20)
    assert answered(0, 20) == plain
    reranking(shop, RULES)  # about `recommend`
    assert answered(0, 20) == plain
    reranking(shop, EVERYWHERE)
    found = answered(0, 20)
    ids = list(found)
    assert (ids[1], found["i3"][-1]) == ("i3", "pinned")
    assert (ITEMS[ids[14]].brand, found[ids[14]][-1]) == ("kiwi", "pinned")
    assert sum(ITEMS[item_id].categories[0] == "lamps" for item_id in ids) >= 4
    odd = sum(ITEMS[item_id].tags == () for item_id in ids)
    assert odd > sum(ITEMS[item_id].tags == () for item_id in plain)
    pages = [item_id for offset in range(0, 130, 13) for item_id in answered(offset, 13)]
    assert pages == list(answered(0, 130))
    assert len(set(pages)) == len(pages)
    sixth = list(plain)[5]
    boost = {"kind": "boost", "filter": f"item_id = '{sixth}'", "factor": 1e6, "lists": [name]}
    reranking(shop, [boost])
    assert next(iter(answered(0, 5))) == sixth
