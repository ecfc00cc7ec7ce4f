"""What every list must be, whoever asks and whatever is left out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from feature_repo.history import UserHistory
from feature_repo.online_features import CoVisitation, ItemStatistics, UserEmbedding
from feature_repo.schema import microseconds
from serving.catalogue import Catalogue
from serving.live_model import LiveModel, ModelHolder
from serving.ranking.settings import SOURCES, RankingSettings
from serving.reload import open_current
from serving.requests import (
    InvalidArgumentError,
    RecommendRequest,
    SimilarRequest,
    TrendingRequest,
    UnknownItemError,
)
from serving.reranking.diversity import OTHER_CATEGORY
from serving.scann_index import ScannIndex
from serving.settings import ServingSettings
from tests.support.tiny_bundle import build_tiny_bundle, tiny_items
from tests.support.tiny_recommender import NOW, SHOPPER, Shop, event

ITEMS = {item.item_id: item for item in tiny_items(600)}
SETTINGS = ServingSettings(pool_size=40, rerank_size=30)

# i8 is a lamp, i11 is sold out.
TOGETHER = CoVisitation("i5", microseconds(NOW), ("i8", "i11", "gone"), (9.0, 2.0, 1.0))


@pytest.fixture(scope="module", params=["exact", "scann"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ModelHolder, Catalogue]:
    folder = tmp_path_factory.mktemp("bundles")
    build_tiny_bundle(folder, list(ITEMS.values()))
    catalogue = Catalogue()
    holder = open_current(folder, catalogue, SETTINGS)
    if request.param == "scann":
        model = holder.current
        index = ScannIndex(model.table, tree_from=200)
        holder.swap(LiveModel(model.space, model.encoder, model.table, index))
    # Every eleventh item is sold out.
    gone = [i.model_copy(update={"available": False}) for i in tiny_items(600)[::11]]
    catalogue.upsert(gone)
    return holder, catalogue


@pytest.fixture
def shop(opened: tuple[ModelHolder, Catalogue]) -> Iterator[Shop]:
    holder, catalogue = opened
    yield Shop(holder, catalogue, SETTINGS)
    catalogue.upsert([item for item in ITEMS.values() if item.item_id not in catalogue])


def without(source: str) -> ServingSettings:
    sources = tuple(name for name in SOURCES if name != source)
    return SETTINGS.model_copy(update={"ranking": RankingSettings(sources=sources)})


def available(shop: Shop) -> set[str]:
    return {item.item_id for item in shop.catalogue.page(0, 10_000) if item.available}


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


def test_a_session_and_a_page_change_the_list_at_once(shop: Shop) -> None:
    clicks = tuple(event(f"i{number}", 1) for number in range(1, 31, 5))
    assert {ITEMS[i].categories[0] for i in shop.ids(session=clicks)} == {"kettles"}
    assert {ITEMS[i].categories[0] for i in shop.ids(None, session=clicks)} == {"kettles"}
    ids = shop.ids(None, context_item_ids=("i2", "i7"))
    assert {ITEMS[item_id].categories[0] for item_id in ids} == {"novels"}
    assert not {"i2", "i7"} & set(ids)


@pytest.mark.parametrize("user_id", ["nobody", "lost", None])
def test_an_unknown_user_gets_what_trends_then_what_is_new(shop: Shop, user_id: str) -> None:
    moment = microseconds(NOW)
    shop.trending.update(
        [
            ItemStatistics("i7", moment, ("view",), (1.0,), (5.0,), (5.0,)),
            ItemStatistics("i8", moment, ("purchase",), (1.0,), (2.0,), (2.0,)),
            # More, but three days ago.
            ItemStatistics("i9", moment - 3 * 86_400_000_000, ("view",), (0,), (60.0,), (90.0,)),
            ItemStatistics("i11", moment, ("view",), (1.0,), (99.0,), (99.0,)),  # sold out
            ItemStatistics("i10", moment, ("unheard-of",), (1.0,), (9.0,), (9.0,)),
        ]
    )
    answer = shop.recommender.recommend(RecommendRequest("r", user_id, limit=6, explain=True))
    assert [item.item_id for item in answer.items] == ["i8", "i7", "i9", "i1", "i2", "i3"]
    assert [item.sources for item in answer.items] == [("trending",)] * 3 + [("new_arrivals",)] * 3
    assert answer.items[0].score == pytest.approx(10.0)
    assert answer.items[0].reason == "trending now"


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


requests = st.builds(
    RecommendRequest,
    request_id=st.sampled_from(["r1", "r2"]),
    user_id=st.sampled_from([None, "shopper", "lost", "nobody"]),
    session=st.lists(st.integers(0, 620), max_size=3).map(
        lambda numbers: tuple(event(f"i{number}", 1 + age) for age, number in enumerate(numbers))
    ),
    limit=st.integers(1, 500),
    offset=st.sampled_from([0, 0, 1, 30, 300, 700]),
    filter=st.sampled_from(
        [None, "price < 100", "price < 3", "'lamps' = ANY(categories)", "brand = 'none'"]
    ),
    exclude_item_ids=st.frozensets(st.integers(0, 30).map("i{}".format), max_size=5),
    exclude_seen=st.sampled_from([False, True, frozenset({"purchase"})]),
    diversity=st.sampled_from([0.0, 0.5, 1.0]),
    calibration=st.sampled_from([0.0, 0.5, 1.0]),
    exploration=st.sampled_from([0.0, 0.3, 1.0]),
    category_cap=st.sampled_from([None, 1, 3]),
    brand_cap=st.sampled_from([None, 1, 5]),
    explain=st.booleans(),
)


@pytest.mark.parametrize("ruled", [False, True])
def test_every_list_is_full_distinct_and_allowed(shop: Shop, ruled: bool) -> None:
    reranking(shop, RULES if ruled else ())
    shop.co_visitation.update([TOGETHER])

    @given(requests)
    def check(request: RecommendRequest) -> None:
        allowed = np.flatnonzero(shop.catalogue.view().allowed(request.filter))
        expected = set(shop.catalogue.rows.ids_of(allowed).tolist()) - request.exclude_item_ids
        known = SHOPPER.events if request.user_id == "shopper" else ()
        for seen in (*known, *request.session):
            types = request.exclude_seen
            if types is True or (not isinstance(types, bool) and seen.event_type in types):
                expected.discard(seen.item_id)
        answer = shop.recommender.recommend(request)
        ids = [item.item_id for item in answer.items]
        assert len(ids) == len(set(ids))
        assert set(ids) <= expected
        assert len(ids) == max(0, min(request.limit, len(expected) - request.offset))
        assert answer == shop.recommender.recommend(request)
        assert all(np.isfinite(item.score) for item in answer.items)
        assert all((item.reason is not None) <= request.explain for item in answer.items)

    check()


KNOBS: list[dict[str, object]] = [
    {},
    {"diversity": 0.4},
    {"diversity": 0.3, "calibration": 0.4, "category_cap": 3, "brand_cap": 5},
    {"exploration": 0.3},
]


@pytest.mark.parametrize("ruled", [False, True])
@pytest.mark.parametrize("knobs", KNOBS)
@pytest.mark.parametrize("sql", [None, "price < 250", "price < 40"])
@pytest.mark.parametrize("user_id", ["shopper", "nobody"])
def test_pages_neither_repeat_nor_miss(
    shop: Shop, user_id: str, sql: str | None, knobs: dict[str, object], ruled: bool
) -> None:
    reranking(shop, RULES if ruled else (), diversity_method="dpp" if ruled else "mmr")

    def ids(offset: int, limit: int) -> list[str]:
        return shop.ids(user_id, offset=offset, limit=limit, filter=sql, **knobs)

    pages = [item_id for offset in range(0, 130, 13) for item_id in ids(offset, 13)]
    assert pages == ids(0, 130)
    assert len(set(pages)) == len(pages)


def test_what_is_deleted_never_appears(shop: Shop) -> None:
    first = shop.ids()[0]
    shop.catalogue.delete([first])
    assert first not in shop.ids(limit=500)
    shop.catalogue.upsert([ITEMS[first]])
    assert shop.ids()[0] == first


def reranking(shop: Shop, rules: Sequence[dict[str, object]] = (), **changes: object) -> Shop:
    """Return the shop with other settings of re-ranking."""
    settings = SETTINGS.model_dump() | {"reranking": changes, "rules": rules}
    shop.recommender = shop.recommender_with(ServingSettings.model_validate(settings))
    return shop


def sources(shop: Shop, **changes: object) -> dict[str, tuple[str, ...]]:
    request = replace(RecommendRequest("seed", "shopper"), **changes)  # type: ignore[arg-type]
    return {item.item_id: item.sources for item in shop.recommender.recommend(request).items}


@pytest.mark.parametrize("method", ["mmr", "dpp"])
def test_diversity_lowers_the_likeness_within_a_list(shop: Shop, method: str) -> None:
    reranking(shop, diversity_method=method)

    def likeness(diversity: float) -> float:
        ids = shop.ids(diversity=diversity, limit=10)
        vectors, _ = shop.holder.current.embeddings_of(ids)
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
    assert found != sources(shop, limit=100, exploration=0.1, request_id="other")


def test_exploration_reaches_what_training_hardly_saw(shop: Shop) -> None:
    # Training saw no events of any item: the candidates are uncertain, all of them.
    found = sources(reranking(shop), limit=100, exploration=0.1)
    assert ("two_tower", "exploration") in found.values()
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
    # Three brands with one place each: the cap gives way.
    assert len(shop.ids(limit=20, brand_cap=1)) == 20


def test_calibration_brings_back_the_lesser_interest(shop: Shop) -> None:
    shop.recommender = shop.recommender_with(SETTINGS.model_copy(update={"rerank_size": 500}))
    session = (*(event(f"i{n}", 90 - n) for n in range(0, 40, 5)), event("i1", 5), event("i6", 4))

    def kettles(calibration: float) -> int:
        ids = shop.ids(None, session=session, limit=20, calibration=calibration)
        return sum(ITEMS[item_id].categories[0] == "kettles" for item_id in ids)

    assert kettles(0.0) < kettles(1.0) == 4


RULES: list[dict[str, object]] = [
    {"kind": "pin", "filter": "item_id = 'i3'", "place": 2},
    {"kind": "pin", "filter": "brand = 'kiwi'", "place": 15},
    {"kind": "promote", "filter": "'lamps' = ANY(categories)", "share": 0.2},
    {"kind": "bury", "filter": "'even' = ANY(tags)", "factor": 0.1},
]


def test_rules_have_their_places(shop: Shop) -> None:
    before = sources(shop, limit=20)
    found = sources(reranking(shop, RULES), limit=20)
    ids = list(found)
    assert (ids[1], found["i3"]) == ("i3", ("pinned",))
    assert ITEMS[ids[14]].brand == "kiwi"
    assert found[ids[14]][-1] == "pinned"
    lamps = [item_id for item_id in ids if ITEMS[item_id].categories[0] == "lamps"]
    assert len(lamps) == 4
    assert {found[item_id][-1] for item_id in lamps} <= {"promoted", "pinned"}
    odd = [item_id for item_id in ids if ITEMS[item_id].tags == ()]
    assert len(odd) > sum(ITEMS[item_id].tags == () for item_id in before)
    answer = shop.recommender.recommend(RecommendRequest("r", "shopper", limit=3, explain=True))
    assert answer.items[1].reason == "picked by the shop"


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
    for window, holds in (
        ({"valid_from": NOW}, True),
        ({"valid_until": NOW}, False),
        ({"valid_from": NOW - timedelta(days=1), "valid_until": NOW + timedelta(days=1)}, True),
        ({"valid_from": NOW + timedelta(seconds=1)}, False),
    ):
        assert (reranking(shop, [pin | window]).ids()[0] == "i3") is holds


def test_a_rule_about_an_attribute_that_no_item_has_is_left_out(shop: Shop) -> None:
    plain = shop.ids()
    rule = {"kind": "promote", "filter": "attributes.sponsor = 'x'", "share": 0.5}
    with capture_logs() as logs:
        assert reranking(shop, [rule]).ids() == plain
        shop.ids()
    assert [log["event"] for log in logs] == ["rule_not_applied"]


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit": 0}, r"`limit` must be in 1\.\.500\. Received: 0\."),
        ({"limit": 501}, "`limit`"),
        ({"offset": -1}, "`offset`"),
        ({"offset": 10_001}, "`offset`"),
        ({"diversity": 1.1}, "`diversity`"),
        ({"exploration": float("nan")}, "`exploration`"),
        ({"calibration": -0.1}, "`calibration`"),
        ({"category_cap": 0}, r"`category_cap` must be in 1\.\.500\. Received: 0\."),
        ({"brand_cap": 501}, "`brand_cap`"),
        ({"filter": "drop"}, "`filter`"),
        ({"exclude_item_ids": frozenset(str(n) for n in range(1001))}, "`exclude_item_ids`"),
    ],
)
def test_a_wrong_argument_is_named(shop: Shop, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        shop.ids(**changes)
