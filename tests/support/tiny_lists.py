"""The catalogue, the settings and the rules that tests of lists share; what they ask of a list."""

from collections.abc import Sequence
from dataclasses import replace

from feature_repo.online_features import CoVisitation
from feature_repo.times import microseconds
from serving.requests import RecommendRequest
from serving.settings import ServingSettings
from tests.support.items import items_of
from tests.support.tiny_bundle import tiny_items
from tests.support.tiny_recommender import NOW, Shop

ITEMS = {item.item_id: item for item in tiny_items(600)}
SETTINGS = ServingSettings(pool_size=40, rerank_size=30)
# i8 is a lamp, i11 is sold out.
TOGETHER = CoVisitation("i5", microseconds(NOW), ("i8", "i11", "gone"), (9.0, 2.0, 1.0))
RULES: list[dict[str, object]] = [
    {"kind": "pin", "filter": "item_id = 'i3'", "place": 2},
    {"kind": "pin", "filter": "brand = 'kiwi'", "place": 15},
    {"kind": "promote", "filter": "'lamps' = ANY(categories)", "share": 0.2},
    {"kind": "bury", "filter": "'even' = ANY(tags)", "factor": 0.1},
]


def available(shop: Shop) -> set[str]:
    return {item.item_id for item in items_of(shop.catalogue) if item.available}


def reranking(shop: Shop, rules: Sequence[dict[str, object]] = (), **changes: object) -> Shop:
    """Return the shop with other settings of re-ranking."""
    settings = SETTINGS.model_dump() | {"reranking": changes, "rules": rules}
    shop.recommender = shop.recommender_with(ServingSettings.model_validate(settings))
    return shop


def sources(shop: Shop, **changes: object) -> dict[str, tuple[str, ...]]:
    """Return the items of a shopper's list, and what proposed each."""
    request = replace(RecommendRequest("seed", "shopper"), **changes)  # type: ignore[arg-type]
    return {item.item_id: item.sources for item in shop.recommender.recommend(request).items}
