"""Every feature of an item, a request, a user and a pair is what its name is said to mean."""

import math
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.history import HistoryEvent
from feature_repo.online_features import ItemStatistics
from feature_repo.schema import Item
from feature_repo.times import DAY, HOUR, WEEK, microseconds
from serving.catalogue import Catalogue
from serving.ranking.feature_names import feature_names
from serving.ranking.features import ranking_features
from serving.settings import ServingSettings
from serving.signals.item_signals import SIGNALS, ItemSignals
from serving.sources.candidate_source import Context
from serving.sources.trending import TrendingSource
from serving.user_acts import UserActs

AT = datetime(2026, 3, 4, 17, 20, 31, tzinfo=UTC)
MINUTE = AT.replace(second=0)
NOW = microseconds(MINUTE)
ITEMS = [
    Item(item_id="a", categories=("tea", "tins"), brand="x", price=4.0, published_at=AT),
    Item(item_id="b", categories=("tea",), brand="y", price=20.0,
         published_at=MINUTE - timedelta(days=3)),
    Item(item_id="c", categories=("lamps",), brand="x",
         published_at=MINUTE - timedelta(days=400)),
    Item(item_id="d", price=0.5),
    Item(item_id="e", categories=("lamps",), published_at=AT + timedelta(days=9)),
]  # fmt: skip
TAKING = ("purchase",)
SETTINGS = ServingSettings(trending_weights={"view": 1.0, "purchase": 5.0})

# (item, hours ago, type); some on items that are gone, some of one moment.
EVENTS = st.lists(
    st.tuples(st.sampled_from("abcdg"), st.integers(0, 90), st.sampled_from(["view", "purchase"])),
    max_size=12,
)
# How often each signal was counted; it may be never.
SIGNAL_VALUES = st.lists(
    st.lists(st.sampled_from([0.0, 0.25, 3.0, 40.0]), min_size=len(SIGNALS), max_size=len(SIGNALS)),
    min_size=len(ITEMS),
    max_size=len(ITEMS),
)


def context_of(
    catalogue: Catalogue, signals: np.ndarray, events: list[HistoryEvent], **changes: Any
) -> Context:
    ranking = SimpleNamespace(signals=ItemSignals(signals.astype(np.float32)))
    model: Any = SimpleNamespace(ranking=ranking)
    view = catalogue.view()
    nobody = Context(model, view, view.allowed(None, AT), False, None, AT, **changes)
    return nobody.of_user(tuple(events), UserActs.of(events, catalogue.rows, TAKING))


def features_of(
    context: Context, catalogue: Catalogue, statistics: list[ItemStatistics] | None = None
) -> list[dict[str, float]]:
    """Return the features of each item by their names, as the service reads them."""
    trending = TrendingSource(catalogue.rows, SETTINGS)
    if statistics:
        trending.update(statistics)
    rows = catalogue.rows.rows_of(item.item_id for item in ITEMS)
    columns = ranking_features(rows, {}, context, trending)
    return [dict(zip(feature_names(()), row, strict=True)) for row in columns.tolist()]


def stocked() -> Catalogue:
    catalogue = Catalogue()
    catalogue.upsert(ITEMS)
    return catalogue


@given(SIGNAL_VALUES)
def test_features_of_items_are_their_definitions(values: list[list[float]]) -> None:
    catalogue = stocked()
    records = [
        ItemStatistics("a", NOW - HOUR, ("purchase", "view"), (1.0, 2.0), (3.0, 4.0), (5.0, 6.0)),
        ItemStatistics("c", NOW - DAY, ("play",), (0.5,), (2.0,), (9.0,)),
    ]
    context = context_of(catalogue, np.array(values), [])
    for item, own, found in zip(
        ITEMS, values, features_of(context, catalogue, records), strict=True
    ):
        signals = dict(zip(SIGNALS, own, strict=True))
        wanted = {
            name: math.log1p(value) for name, value in signals.items() if "popularity" in name
        }
        usual = signals["popularity_365_days"] * 30 / 365
        wanted["trend"] = math.log((signals["popularity_30_days"] + 1) / (usual + 1))
        wanted["repeat_share"] = signals["repeat_share"]
        wanted["repeat_days"] = math.log1p(signals["repeat_days"])
        for window, length in (("hour", HOUR), ("day", DAY), ("week", WEEK)):
            worth = sum(
                SETTINGS.trending_weights.get(kind, 1.0)
                * count
                * math.exp(-(NOW - record.timestamp) / length)
                for record in records
                if record.item_id == item.item_id
                for kind, count in zip(record.event_types, getattr(record, window), strict=True)
            )
            wanted[f"worth_{window}"] = math.log1p(worth)
        age = MINUTE - item.published_at if item.published_at else timedelta(0)
        wanted["age"] = math.log1p(max(age / timedelta(days=1), 0))
        wanted["has_age"] = float(item.published_at is not None)
        wanted["price"] = math.log1p(item.price or 0)
        for rhythm in ("day", "week"):
            wanted[f"{rhythm}_fit"] = sum(
                signals[f"{rhythm}_{of}"] * found[f"{rhythm}_{of}"] for of in ("sin", "cos")
            )
        for name, value in wanted.items():
            assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize("moment", [None, datetime(2026, 3, 7, 3, tzinfo=UTC)])
def test_features_of_requests_are_places_on_circles(moment: datetime | None) -> None:
    catalogue = stocked()
    context = context_of(catalogue, np.zeros((len(ITEMS), len(SIGNALS))), [], moment=moment)
    when = microseconds(moment or MINUTE)
    for found in features_of(context, catalogue):
        for rhythm, length in (("day", DAY), ("week", WEEK)):
            turn = 2 * math.pi * (when % length) / length
            assert found[f"{rhythm}_sin"] == pytest.approx(math.sin(turn), abs=1e-5)
            assert found[f"{rhythm}_cos"] == pytest.approx(math.cos(turn), abs=1e-5)


@given(EVENTS, st.sampled_from([0.0, 2.0]))
def test_features_of_users_and_pairs_are_their_definitions(
    given_: list[tuple[str, int, str]], usual_days: float
) -> None:
    catalogue = stocked()
    events = [
        HistoryEvent(NOW - hours * HOUR, f"e{number}", item_id, kind, 0.0)
        for number, (item_id, hours, kind) in enumerate(given_)
    ]
    signals = np.zeros((len(ITEMS), len(SIGNALS)))
    signals[:, SIGNALS.index("repeat_days")] = usual_days
    found = features_of(context_of(catalogue, signals, events), catalogue)
    known = [each for each in events if each.item_id in {item.item_id for item in ITEMS}]
    newest = max((each.timestamp for each in known), default=0)
    visits = {item.item_id: visits_of(known, item.item_id) for item in ITEMS}
    taken = [times for times in visits.values() if times]
    of_user = {
        "num_events": math.log1p(len(known)),
        "num_items": math.log1p(len({each.item_id for each in known})),
        "items_per_moment": math.log1p(
            len({each.item_id for each in known}) / max(len({each.timestamp for each in known}), 1)
        ),
        "repeats": sum(times[0] > 1 for times in taken) / max(len(taken), 1),
    }
    by_id = {item.item_id: item for item in ITEMS}
    prices = [math.log1p(p) for each in known if (p := by_id[each.item_id].price) is not None]
    labelled = {
        "category_share": [by_id[each.item_id].categories[:1] for each in known],
        "brand_share": [by_id[each.item_id].brand for each in known],
    }
    for item, own in zip(ITEMS, found, strict=True):
        times = [each.timestamp for each in known if each.item_id == item.item_id]
        wanted = of_user | {
            "acted": float(bool(times)),
            "times": math.log1p(len(times)),
            "days_since": math.log1p((newest - max(times)) / DAY) if times else 0.0,
            "days_between": 0.0,
            "due": 0.0,
            "price_difference": 0.0,
        }
        if visits[item.item_id]:
            number, first, last = visits[item.item_id]
            wanted["days_between"] = math.log1p((last - first) / DAY / max(number - 1, 1))
            if usual_days:
                wanted["due"] = math.log(((newest - last) / DAY + 1) / (usual_days + 1))
        if item.price is not None and prices:
            wanted["price_difference"] = math.log1p(item.price) - np.mean(prices)
        for name, label in (("category_share", item.categories[:1]), ("brand_share", item.brand)):
            wanted[name] = labelled[name].count(label) / max(len(known), 1) if label else 0.0
        for name, value in wanted.items():
            assert own[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


def visits_of(events: list[HistoryEvent], item_id: str) -> tuple[int, int, int] | None:
    """Return how many visits took the item, and the first and the last time; None without any."""
    times = sorted(
        each.timestamp for each in events if each.item_id == item_id and each.event_type in TAKING
    )
    if not times:
        return None
    pauses = np.diff(times)
    return 1 + int((pauses >= 12 * HOUR).sum()), times[0], times[-1]
