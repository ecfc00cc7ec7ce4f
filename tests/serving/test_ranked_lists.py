"""Lists of a bundle that ranks: what switches parts off, and what asks them alone."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from feature_repo.times import minute_of
from serving.ranking.calibrated_fusion import CalibratedFusion
from serving.ranking.settings import BUILT_IN_WEIGHTS, Weights
from serving.requests import SimilarRequest, TrendingRequest
from serving.settings import ServingSettings
from serving.source_names import ASKED_SOURCES, SOURCES
from tests.support.tiny_bundle import tiny_ranking
from tests.support.tiny_ranked_lists import (
    ITEMS,
    KINDS,
    NUM_ITEMS,
    SETTINGS,
    items,
    proposers,
    ranked_shop,
    settings,
)
from tests.support.tiny_recommender import NOW, Shop

WAYS = (
    ("none", "mixture"),
    ("tables", "mixture"),
    ("tables", "reciprocal_rank"),
    ("tables", "voting"),
    ("ranker", "mixture"),
)
"""How what is proposed gets its score: by which kind of bundle, and which fusion."""

LISTS = ("recommend", "similar", "trending")


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shop]:
    """Bundles with nothing to rank by, with tables alone, and with a ranker too."""
    return {kind: ranked_shop(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture
def shop(shops: dict[str, Shop]) -> Shop:
    return shops["ranker"]


def test_every_source_has_a_say(shop: Shop) -> None:
    assert proposers(items(shop, limit=100)) >= set(SOURCES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_source_is_off_by_one_setting(shops: dict[str, Shop], kind: str, source: str) -> None:
    rest = [name for name in SOURCES if name != source]
    answered = items(shops[kind], settings(sources=rest), limit=NUM_ITEMS)
    assert source not in proposers(answered)
    assert len(answered) == NUM_ITEMS


@pytest.mark.parametrize("kind", KINDS)
def test_all_sources_may_be_off(shops: dict[str, Shop], kind: str) -> None:
    answered = items(shops[kind], settings(sources=[]), limit=NUM_ITEMS)
    assert proposers(answered) == {"popular", "new_arrivals"}
    assert len(answered) == NUM_ITEMS


def test_the_ranker_is_off_by_one_setting(shops: dict[str, Shop]) -> None:
    learned = items(shops["ranker"], limit=50)
    fused = items(shops["ranker"], settings(learned=False), limit=50)
    assert [item.item_id for item in fused] != [item.item_id for item in learned]
    # The tables are the same: so is the fusion of what they say.
    assert fused == items(shops["tables"], limit=50)


def test_the_fusion_weighs_by_setting_else_as_the_bundle_says_else_as_built_in(
    shops: dict[str, Shop], tmp_path: Path
) -> None:
    learned: Weights = {"text": 0.4, "buy_again": 0.2}
    tables = tiny_ranking(NUM_ITEMS, has_ranker=False)
    data = replace(tables, fusion=CalibratedFusion(weights=learned))
    shop = ranked_shop(tmp_path, "tables", data)

    def scored(of: Shop, changed: ServingSettings = SETTINGS) -> list[tuple[str, float]]:
        return [(item.item_id, item.score) for item in items(of, changed, limit=50)]

    calibrated, built_in = scored(shop), scored(shops["tables"])
    assert calibrated != built_in
    assert scored(shops["tables"], settings(weights=learned)) == calibrated
    assert scored(shop, settings(weights=BUILT_IN_WEIGHTS)) == built_in
    other = replace(tables, fusion=CalibratedFusion(weights=learned, temperature=3.0))
    assert scored(ranked_shop(tmp_path / "other", "tables", other)) != calibrated
    # Only who weighs anything is asked.
    assert proposers(items(shop, limit=50)) == {"two_tower", *learned}


def test_a_bundle_with_nothing_to_rank_by_serves_by_the_other_sources(
    shops: dict[str, Shop],
) -> None:
    answered = items(shops["none"], limit=50)
    assert proposers(answered) <= {"two_tower", "co_visitation", "trending"}
    tables_off = settings(sources=["two_tower", "co_visitation", "trending"])
    assert answered == items(shops["tables"], tables_off, limit=50)


@pytest.mark.parametrize(("kind", "fusion"), WAYS)
@pytest.mark.parametrize("sql", [None, "price < 60"])
@pytest.mark.parametrize("diversity", [None, 0.4])
def test_pages_neither_repeat_nor_miss(
    shops: dict[str, Shop], kind: str, fusion: str, sql: str | None, diversity: float | None
) -> None:
    def ids(offset: int, limit: int) -> list[str]:
        changes = {"filter": sql, "diversity": diversity}
        page = items(shops[kind], settings(fusion=fusion), offset=offset, limit=limit, **changes)
        return [item.item_id for item in page]

    pages = [item_id for offset in range(0, 117, 13) for item_id in ids(offset, 13)]
    assert pages == ids(0, 117)
    assert len(set(pages)) == len(pages)


PLACING = [
    {"kind": "promote", "filter": "price < 60", "share": 0.5},
    {"kind": "promote", "filter": "price < 80 AND brand = 'acme'", "share": 0.3},
    {"kind": "pin", "filter": "brand = 'kiwi'", "place": 4},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("user", [None, "regular", "shopper"])
@pytest.mark.parametrize("asked", [None, {"two_tower"}, {"ease", "trending"}, {"popular"}])
@pytest.mark.parametrize("ruled", [False, True])
def test_the_same_place_is_described_alike_in_a_list_of_any_length(
    shops: dict[str, Shop], kind: str, user: str | None, asked: set[str] | None, ruled: bool
) -> None:
    changed = ServingSettings.model_validate(
        SETTINGS.model_dump()
        | {"rules": [rule | {"lists": LISTS} for rule in PLACING] if ruled else []}
    )
    for seed in range(5):
        whole, *others = (
            items(
                shops[kind],
                changed,
                request_id=str(seed),
                user_id=user,
                sources=None if asked is None else frozenset(asked),
                limit=limit,
                exploration=0.3,
                explain=True,
            )
            for limit in (500, 20, 3)
        )
        for other in others:
            for one, same in zip(other, whole, strict=False):
                assert (one.item_id, one.sources, one.reason) == (
                    same.item_id,
                    same.sources,
                    same.reason,
                )
                assert one.score == pytest.approx(same.score, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ["similar", "trending"])
def test_what_is_promoted_is_described_alike_in_a_list_of_any_length(shop: Shop, name: str) -> None:
    changed = ServingSettings.model_validate(
        SETTINGS.model_dump() | {"rules": [rule | {"lists": LISTS} for rule in PLACING]}
    )
    lists = shop.recommender_with(changed)

    def answered(limit: int) -> list[tuple[str, tuple[str, ...]]]:
        answer = (
            lists.similar(SimilarRequest("r", "i2", limit=limit))
            if name == "similar"
            else lists.trending(TrendingRequest("r", limit=limit))
        )
        return [(item.item_id, item.sources) for item in answer.items]

    whole = answered(500)
    assert {by[-1] for _, by in whole} >= {"pinned", "promoted"}
    for limit in (3, 20, 100):
        assert answered(limit) == whole[:limit]


@pytest.mark.parametrize("kind", ["tables", "ranker"])
def test_what_is_explored_names_who_proposed_it(shops: dict[str, Shop], kind: str) -> None:
    shop = shops[kind]
    plain = {item.item_id: item for item in items(shop, limit=SETTINGS.rerank_size)}
    least = min(item.score for item in plain.values())
    found: set[tuple[str, ...]] = set()
    for seed in range(20):
        for item in items(shop, limit=20, exploration=0.5, request_id=str(seed)):
            *by, last = item.sources
            if last != "exploration":
                continue
            found.add(tuple(by))
            if item.item_id in plain:
                same = plain[item.item_id]
                assert (tuple(by), item.score) == (same.sources, same.score)
            else:
                assert (by, item.score) == (["new_arrivals"], least)
    assert len(found) > 1


asked = st.frozensets(st.sampled_from(ASKED_SOURCES), min_size=1)
users = st.sampled_from([None, "regular", "shopper", "lost", "nobody"])
filters = st.sampled_from([None, "price < 60", "'shoes' = ANY(categories)", "brand = 'none'"])


@pytest.mark.parametrize("kind", KINDS)
def test_only_who_is_asked_answers(shops: dict[str, Shop], kind: str) -> None:
    @hypothesis_settings(max_examples=40)
    @given(asked, users, filters, st.integers(0, 40))
    def check(sources: frozenset[str], user: str | None, sql: str | None, cut: int) -> None:
        answered = items(shops[kind], user_id=user, filter=sql, sources=sources, limit=50)
        assert proposers(answered) <= sources
        ids = [item.item_id for item in answered]
        assert len(set(ids)) == len(ids)
        view = shops[kind].catalogue.view()
        assert view.allowed(sql, NOW)[shops[kind].catalogue.rows.rows_of(ids)].all()
        pages = [
            items(
                shops[kind],
                user_id=user,
                filter=sql,
                sources=sources,
                offset=offset,
                limit=limit,
                explain=True,
            )
            for offset, limit in ((0, cut), (cut, 50 - cut))
            if limit
        ]
        assert [item.item_id for page in pages for item in page] == ids

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_only_who_is_asked_answers_beside_knobs_and_rules(
    shops: dict[str, Shop], kind: str
) -> None:
    rules = [
        {"kind": "boost", "filter": "price < 60", "factor": 3.0},
        {"kind": "promote", "filter": "brand = 'acme'", "share": 0.3},
        {"kind": "pin", "filter": "'lamps' = ANY(categories)", "place": 2},
    ]
    ruled = ServingSettings.model_validate(SETTINGS.model_dump() | {"rules": rules})

    @hypothesis_settings(max_examples=40)
    @given(asked, users, st.sampled_from([0.0, 0.5]))
    def check(sources: frozenset[str], user: str | None, knob: float) -> None:
        shop, changes = shops[kind], {"user_id": user, "sources": sources, "limit": NUM_ITEMS}
        proposed = {item.item_id for item in items(shop, SETTINGS, **changes)}
        answered = items(shop, ruled, exploration=0.5, diversity=knob, **changes)
        assert {item.item_id for item in answered} <= proposed
        assert proposers(answered) <= sources | {"exploration", "pinned", "promoted"}

    check()


@pytest.mark.parametrize("user", ["regular", "nobody"])
@pytest.mark.parametrize("source", ["trending", "popular"])
def test_a_factor_divides_counts_whoever_asks(shop: Shop, source: str, user: str) -> None:
    """Of i65, i60, i24 and i9, which count 6.5, 6, 2.4 and .9."""

    def ids(factor: float) -> list[str]:
        bury = {"kind": "bury", "filter": "item_id = 'i65'", "factor": factor}
        ruled = ServingSettings.model_validate(SETTINGS.model_dump() | {"rules": [bury]})
        changes = {"user_id": user, "sources": frozenset({source})}
        return [item.item_id for item in items(shop, ruled, **changes)]

    assert ids(0.99) == ["i65", "i60", "i24", "i9"]
    assert ids(0.5) == ["i60", "i65", "i24", "i9"]
    assert ids(0.4) == ["i60", "i65", "i24", "i9"]
    assert ids(0.3) == ["i60", "i24", "i65", "i9"]
    assert ids(0.1) == ["i60", "i24", "i9", "i65"]


def test_what_fills_the_list_alone_is_counted(shop: Shop) -> None:
    """Where the ranking knows the user and has nothing to say, as all its sources are off."""
    bury = {"kind": "bury", "filter": "item_id = 'i65'", "factor": 0.3}
    ruled = ServingSettings.model_validate(settings(sources=[]).model_dump() | {"rules": [bury]})
    assert [item.item_id for item in items(shop, ruled, limit=3)] == ["i60", "i24", "i65"]


def test_a_source_alone_answers_in_its_own_order(shop: Shop) -> None:
    def ids(source: str, **changes: object) -> list[str]:
        answered = items(shop, sources=frozenset({source}), **changes)
        assert all(item.sources == (source,) for item in answered)
        scores = [item.score for item in answered]
        assert scores == sorted(scores, reverse=True)
        return [item.item_id for item in answered]

    assert ids("trending") == ids("trending", user_id="nobody") == ["i65", "i60", "i24", "i9"]
    assert ids("co_visitation") == ["i33", "i34"]
    # i22 is the last; from each item on the next counts 1, the one after a quarter.
    assert ids("ease") == ["i23", "i22", "i11", "i24", "i12"]
    assert set(ids("buy_again")) == {"i10", "i21", "i22"}
    assert ids("buy_again")[0] == "i10"
    # Both are shoes; i60 is nearer to what the user pays.
    assert ids("category") == ["i60", "i65"]
    assert ids("new_arrivals", limit=2) == ["i0", "i1"]
    # Off by the settings, and asked all the same.
    off = settings(sources=["two_tower"])
    assert [i.item_id for i in items(shop, off, sources=frozenset({"ease"}))] == ids("ease")


def test_a_list_is_filled_by_whichever_fallbacks_are_asked(shop: Shop) -> None:
    asked = frozenset({"ease", "new_arrivals"})
    found = items(shop, user_id="nobody", sources=asked, limit=9)
    assert [item.sources for item in found] == [("new_arrivals",)] * 9


def test_only_what_was_taken_waits_until_it_is_due(shops: dict[str, Shop], tmp_path: Path) -> None:
    data = replace(tiny_ranking(NUM_ITEMS, has_ranker=False), taking=("purchase",))

    def scores(shop: Shop) -> dict[str, float]:
        answered = items(shop, sources=frozenset({"buy_again"}))
        return {item.item_id: item.score for item in answered}

    acted, bought = scores(shops["tables"]), scores(ranked_shop(tmp_path, "tables", data))
    # i21 was viewed and not bought.
    assert acted.keys() == bought.keys() == {"i10", "i21", "i22"}
    assert {item for item in acted if bought[item] != acted[item]} == {"i21"}
    assert bought["i21"] > acted["i21"]


@pytest.mark.parametrize(("kind", "fusion"), WAYS[1:])
@pytest.mark.parametrize("days", [0.5, 100.0])
def test_an_item_counts_half_as_probable_for_each_half_life_of_its_age(
    shops: dict[str, Shop], kind: str, fusion: str, days: float
) -> None:
    # All of them candidates: what follows behind these scores as the last of them.
    plain = items(shops[kind], settings(fusion=fusion), limit=SETTINGS.pool_size)
    aged = items(
        shops[kind], settings(fusion=fusion, age_half_life_days=days), limit=SETTINGS.pool_size
    )
    assert [item.score for item in aged] == sorted((item.score for item in aged), reverse=True)
    before = {item.item_id: item.score for item in plain}
    both = [item for item in aged if item.item_id in before]
    assert both
    for item in both:
        published = ITEMS[item.item_id].published_at
        assert published is not None
        age = (minute_of(NOW) - published) / timedelta(days=days)
        assert item.score == pytest.approx(before[item.item_id] - np.log(2) * age, rel=1e-4)


def test_what_has_no_time_of_publication_does_not_age(shop: Shop) -> None:
    days = 1e-3
    aged = items(shop, settings(age_half_life_days=days), limit=1)[0]
    timeless = ITEMS["i150"].model_copy(update={"published_at": None})
    shop.catalogue.upsert([timeless])
    try:
        first = items(shop, settings(age_half_life_days=days), limit=1)[0]
        assert (first.item_id, first.score > aged.score) == ("i150", True)
    finally:
        shop.catalogue.upsert([ITEMS["i150"]])
