"""Time alone changes no list within a minute, and what happens within it counts at once."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from feature_repo.history import DEFAULT_MAX_LENGTH, UserHistory
from feature_repo.online_features import ItemStatistics
from feature_repo.schema import Item
from feature_repo.times import microseconds, minute_of
from serving.ranking.feature_names import feature_names
from serving.ranking.ranking_stage import RankingStage
from serving.requests import RecommendRequest, TrendingRequest
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context
from serving.sources.new_arrivals import NewArrivalsSource
from serving.user_acts import UserActs
from serving.user_query import UserQueryReader
from tests.support.tiny_ranked_lists import KINDS, REGULAR, SETTINGS, ranked_shop
from tests.support.tiny_recommender import NOW, Shop, event

# Not a whole number of days after anything, so that every age passes something within it.
MINUTE = minute_of(NOW) + timedelta(minutes=7)

within = st.timedeltas(timedelta(0), timedelta(minutes=1) - timedelta(microseconds=1))


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shop]:
    return {kind: ranked_shop(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def asking(shop: Shop, at: datetime, changed: ServingSettings = SETTINGS) -> Shop:
    """Return the shop at a moment."""
    shop.recommender = shop.recommender_with(changed, at)
    return shop


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", ["hour", "week"])
def test_a_list_asked_again_is_the_same_and_its_pages_tile_it(
    shops: dict[str, Shop], kind: str, window: str
) -> None:
    shop = shops[kind]
    changed = SETTINGS.model_copy(update={"trending_window": window, "trending_lift": 0.5})

    @hypothesis_settings(max_examples=25)
    @given(
        st.lists(within, min_size=4, max_size=4),
        st.sampled_from([None, "regular", "shopper", "nobody"]),
        st.sampled_from([(), ("i21", "i40")]),
        st.fixed_dictionaries(
            {
                "diversity": st.sampled_from([0.0, 0.4]),
                "exploration": st.sampled_from([0.0, 0.3]),
                "brand_cap": st.sampled_from([None, 2]),
            }
        ),
        st.integers(1, 119),
    )
    def check(
        moments: list[timedelta],
        user: str | None,
        beside: tuple[str, ...],
        knobs: dict[str, object],
        cut: int,
    ) -> None:
        whole = replace(
            RecommendRequest("r", user, context_item_ids=beside, limit=120),
            **knobs,  # type: ignore[arg-type]
        )
        asked = [whole, whole, replace(whole, limit=cut)]
        asked.append(replace(whole, offset=cut, limit=120 - cut))
        first, again, *pages = (
            asking(shop, MINUTE + moment, changed).recommender.recommend(request).items
            for moment, request in zip(moments, asked, strict=True)
        )
        assert again == first
        assert [item.item_id for page in pages for item in page] == [item.item_id for item in first]
        trending = [
            asking(shop, MINUTE + moment, changed).recommender.trending(TrendingRequest("r"))
            for moment in moments
        ]
        assert trending == trending[:1] * 4

    check()


def test_ages_of_what_happens_within_the_minute_are_0(tmp_path: Path) -> None:
    shop, at = ranked_shop(tmp_path, "ranker"), MINUTE + timedelta(seconds=40)
    just_now = MINUTE + timedelta(seconds=30)
    shop.catalogue.upsert([Item(item_id="i60", title="new", published_at=just_now)])
    shop.trending.update(
        [ItemStatistics("i60", microseconds(just_now), ("view",), (5.0,), (5.0,), (5.0,))]
    )
    bought = event("i22", event_type="purchase")._replace(timestamp=microseconds(just_now))
    events = (*REGULAR.events, bought)
    stage, model = RankingStage(shop.trending, shop.co_visitation, SETTINGS), shop.holder.current
    view = shop.catalogue.view()
    context = Context(model, view, view.available, False, model.encode_query(REGULAR), at)
    context = context.of_user(events, UserActs.of(events, shop.catalogue.rows))
    pool = stage.pool(context)
    names = tuple(source.name for source in stage.sources)
    columns = dict(zip(feature_names(names), stage.features(pool, names, context).T, strict=True))
    found = {name: column[pool.rows == 60][0] for name, column in columns.items()}
    assert found["age"] == 0
    assert found["new_arrivals.score"] == 1
    # As at the start of the minute, so that all counts are worth alike.
    for name in ("worth_hour", "worth_day", "worth_week"):
        assert found[name] == pytest.approx(1.791759, rel=0.01)
    assert columns["days_since"][pool.rows == 22] == 0
    assert NewArrivalsSource(SETTINGS).propose(context, 1).rows.tolist() == [60]


def test_an_event_of_the_minute_changes_the_list_at_once(shops: dict[str, Shop]) -> None:
    shop = asking(shops["ranker"], MINUTE + timedelta(seconds=40))
    before = shop.recommender.recommend(RecommendRequest("r", "regular", limit=50))
    seen = event("i3")._replace(timestamp=microseconds(MINUTE + timedelta(seconds=39)))
    shop.online.push([UserHistory("regular", (*REGULAR.events, seen))])
    try:
        after = shop.recommender.recommend(RecommendRequest("r", "regular", limit=50))
        # What the page shows is newer yet.
        shown = RecommendRequest("r", "regular", context_item_ids=("i40",), limit=50)
        history = (
            UserQueryReader(shop.online, DEFAULT_MAX_LENGTH)
            .read(shown, shop.holder.current, microseconds(MINUTE), with_events=True)
            .events
        )
    finally:
        shop.online.push([REGULAR])
    assert after.items != before.items
    assert [each.item_id for each in history][-2:] == ["i3", "i40"]


def test_a_rule_begins_and_ends_with_a_minute(shops: dict[str, Shop]) -> None:
    half = MINUTE + timedelta(seconds=30)
    pin = {"kind": "pin", "filter": "item_id = 'i150'"}
    rules = [pin | {"place": 1, "valid_until": half}, pin | {"place": 2, "valid_from": half}]
    ruled = ServingSettings.model_validate(SETTINGS.model_dump() | {"rules": rules})

    def place(seconds: int) -> int:
        lists = asking(shops["tables"], MINUTE + timedelta(seconds=seconds), ruled).recommender
        answered = lists.recommend(RecommendRequest("r", "regular")).items
        return [item.item_id for item in answered].index("i150") + 1

    assert [place(seconds) for seconds in (0, 29, 31, 59, 60, 91)] == [1, 1, 1, 1, 2, 2]


def test_a_new_arrival_is_shown_once_it_is_published(shops: dict[str, Shop]) -> None:
    shop, published = shops["tables"], MINUTE + timedelta(seconds=30)
    shop.catalogue.upsert([Item(item_id="later", published_at=published)])
    try:
        for at, is_shown in ((published - timedelta(seconds=1), False), (published, True)):
            lists = asking(shop, at).recommender
            request = RecommendRequest("r", sources=frozenset({"new_arrivals"}), limit=500)
            ids = {item.item_id for item in lists.recommend(request).items}
            assert ("later" in ids) is is_shown
    finally:
        shop.catalogue.delete(["later"])
