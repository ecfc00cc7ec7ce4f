"""Shops whose bundles have something to rank by, and what tests ask of their lists."""

from dataclasses import replace
from pathlib import Path

from feature_repo.history import UserHistory
from feature_repo.online_features import CoVisitation, ItemStatistics
from feature_repo.times import microseconds
from serving.catalogue import Catalogue
from serving.ranking.bundle_files import RankingData
from serving.reload import open_current
from serving.requests import RecommendedItem, RecommendRequest
from serving.settings import ServingSettings
from tests.support.tiny_bundle import build_tiny_bundle, tiny_items, tiny_ranking
from tests.support.tiny_recommender import NOW, Shop, event

NUM_ITEMS = 200
ITEMS = {item.item_id: item for item in tiny_items(NUM_ITEMS)}
SETTINGS = ServingSettings.model_validate(
    {"pool_size": 40, "rerank_size": 30, "ranking": {"source_size": 20}}
)
KINDS = ("none", "tables", "ranker")
# i10 a shoe, i21 and i22 a kettle and a novel.
REGULAR = UserHistory(
    "regular",
    (
        *(event("i10", 900 - 100 * number, "purchase") for number in range(3)),
        event("i21", 500),
        event("i22", 400, "purchase"),
    ),
)


def ranked_shop(folder: Path, kind: str, ranking: RankingData | None = None) -> Shop:
    """Return a shop over a bundle of one of `KINDS`, in `folder`; REGULAR is known."""
    if ranking is None and kind != "none":
        ranking = tiny_ranking(NUM_ITEMS, has_ranker=kind == "ranker")
    build_tiny_bundle(folder, list(ITEMS.values()), ranking=ranking)
    catalogue = Catalogue()
    shop = Shop(open_current(folder, catalogue, SETTINGS), catalogue, SETTINGS)
    moment = microseconds(NOW)
    shop.online.push([REGULAR])
    # All that trends; i60 and i65 are shoes.
    shop.trending.update(
        [
            ItemStatistics(f"i{n}", moment, ("view",), (1.0,), (n / 10,), (n / 10,))
            for n in (9, 24, 60, 65)
        ]
    )
    shop.co_visitation.update([CoVisitation("i21", moment, ("i33", "i34"), (3.0, 1.0))])
    return shop


def settings(**ranking: object) -> ServingSettings:
    """Return `SETTINGS` with other settings of ranking."""
    return ServingSettings.model_validate(
        SETTINGS.model_dump() | {"ranking": SETTINGS.ranking.model_dump() | ranking}
    )


def items(
    shop: Shop, changed: ServingSettings = SETTINGS, **changes: object
) -> tuple[RecommendedItem, ...]:
    """Return REGULAR's list."""
    request = replace(RecommendRequest("r", "regular"), **changes)  # type: ignore[arg-type]
    return shop.recommender_with(changed).recommend(request).items


def proposers(answered: tuple[RecommendedItem, ...]) -> set[str]:
    """Return all sources that a list names."""
    return {source for item in answered for source in item.sources}
