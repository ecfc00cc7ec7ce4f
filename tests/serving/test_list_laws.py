"""What every list must be, whoever asks and whatever is left out."""

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.history import DEFAULT_MAX_LENGTH, UserHistory
from feature_repo.schema import Item
from serving.candidate_space import CandidateSpace
from serving.catalogue import Catalogue
from serving.exact_index import ExactIndex
from serving.live_model import LiveModel, ModelHolder
from serving.requests import RecommendRequest, SimilarRequest, TrendingRequest
from serving.scann_index import ScannIndex
from serving.settings import ServingSettings
from tests.support.items import items_of
from tests.support.tiny_bundle import CREATED_AT
from tests.support.tiny_lists import RULES, TOGETHER, reranking
from tests.support.tiny_recommender import NOW, SHOPPER, Shop, event

# As many events as a history holds: whatever a request adds takes the place of one.
REGULAR = UserHistory(
    "regular",
    tuple(event(f"i{number}", 9_000 - number, "purchase") for number in range(DEFAULT_MAX_LENGTH)),
)
KNOWN = {"shopper": SHOPPER.events, "regular": REGULAR.events}

requests = st.builds(
    RecommendRequest,
    request_id=st.sampled_from(["r1", "r2"]),
    user_id=st.sampled_from([None, "shopper", "regular", "lost", "nobody"]),
    session=st.lists(st.integers(0, 620), max_size=3).map(
        lambda numbers: tuple(event(f"i{number}", 1 + age) for age, number in enumerate(numbers))
    ),
    context_item_ids=st.lists(st.integers(0, 620).map("i{}".format), max_size=30).map(tuple),
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
    shop.online.push([REGULAR])

    @given(requests)
    def check(request: RecommendRequest) -> None:
        allowed = np.flatnonzero(shop.catalogue.view().allowed(request.filter, NOW))
        expected = set(shop.catalogue.rows.ids_of(allowed).tolist())
        expected -= request.exclude_item_ids | set(request.context_item_ids)
        for seen in (*KNOWN.get(request.user_id or "", ()), *request.session):
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


@pytest.fixture
def shop_of_one_moment(shop: Shop) -> Iterator[Shop]:
    before = items_of(shop.catalogue)
    published = CREATED_AT - timedelta(days=3)
    shop.catalogue.upsert([item.model_copy(update={"published_at": published}) for item in before])
    yield shop
    shop.catalogue.upsert(before)


@pytest.mark.parametrize("source", [None, "two_tower", "text", "new_arrivals", "popular"])
@pytest.mark.parametrize("user_id", ["shopper", "nobody"])
def test_pages_hold_in_a_shop_that_was_imported_in_one_moment(
    shop_of_one_moment: Shop, user_id: str, source: str | None
) -> None:
    shop = shop_of_one_moment
    sources = None if source is None else frozenset({source})

    def ids(offset: int, limit: int) -> list[str]:
        return shop.ids(user_id, offset=offset, limit=limit, sources=sources)

    assert [each for offset in range(0, 200, 20) for each in ids(offset, 20)] == ids(0, 200)

    def trending(offset: int, limit: int) -> list[str]:
        asked = TrendingRequest("r", offset=offset, limit=limit)
        return [item.item_id for item in shop.recommender.trending(asked).items]

    pages = [each for offset in range(0, 200, 20) for each in trending(offset, 20)]
    assert pages == trending(0, 200)
    assert len(set(pages)) == 200


@pytest.mark.parametrize("dimension", [32, 64, 128])
def test_pages_of_similar_items_hold_where_all_are_equally_near(shop: Shop, dimension: int) -> None:
    random = np.random.default_rng(dimension)
    ids = [f"v{number}" for number in range(300)]
    catalogue = Catalogue()
    catalogue.upsert([Item(item_id=item_id) for item_id in ids])
    table = ExactIndex(dimension, catalogue.rows)
    space = CandidateSpace("all-alike", dimension, 1.0, {})
    alike = LiveModel(space, shop.holder.current.encoder, table, table)
    lists = Shop(ModelHolder(alike), catalogue, ServingSettings()).recommender
    for _ in range(10):
        asked, other = random.normal(size=(2, dimension)).astype(np.float32)
        table.upsert(ids, np.stack([asked, *[other] * (len(ids) - 1)]))
        pages = [
            item.item_id
            for offset in range(0, 200, 20)
            for item in lists.similar(SimilarRequest("r", "v0", limit=20, offset=offset)).items
        ]
        assert len(set(pages)) == 200


@pytest.mark.parametrize("sql", [None, "price >= 2000"])
@pytest.mark.parametrize("approximate", [False, True])
def test_similar_items_are_the_nearest_whatever_the_lengths_of_others(
    shop: Shop, approximate: bool, sql: str | None
) -> None:
    """Of 3,000, some twice as long as others, a list holds those that all cosines name."""
    random, dimension = np.random.default_rng(7), 16
    ids = [f"v{number}" for number in range(3_000)]
    catalogue = Catalogue()
    catalogue.upsert([Item(item_id=each, price=float(each[1:])) for each in ids])
    table = ExactIndex(dimension, catalogue.rows)
    tastes = random.normal(size=(len(ids), dimension))
    tastes /= np.linalg.norm(tastes, axis=1, keepdims=True)
    table.upsert(ids, (tastes * random.uniform(1, 2, (len(ids), 1))).astype(np.float32))
    index = ScannIndex(table) if approximate else table
    model = LiveModel(
        CandidateSpace("lengths", dimension, 1.0, {}), shop.holder.current.encoder, table, index
    )
    lists = Shop(ModelHolder(model), catalogue, ServingSettings()).recommender
    for asked in range(20):
        cosines = tastes @ tastes[asked]
        cosines[asked] = -np.inf
        if sql is not None:
            cosines[:2_000] = -np.inf
        expected = [f"v{row}" for row in np.argsort(-cosines)[:20]]
        found = lists.similar(SimilarRequest("r", f"v{asked}", limit=20, filter=sql)).items
        assert [item.item_id for item in found] == expected
