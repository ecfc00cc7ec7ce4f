"""Counts by source add up to what was shown and done, and what is remembered has a bound."""

import tracemalloc
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.values import MutexValue

from serving.requests import Recommendation, RecommendedItem
from serving.source_shares import LIST_PLACES, MOST_PLACES, SourceShares

TYPES = ("view", "purchase")
SOURCES = ("two_tower", "ease", "trending")


@pytest.fixture(scope="module", autouse=True)
def _values_of_their_own() -> Iterator[None]:
    # Where Feast was imported first, registries of one process share what is of one name.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prometheus_client.values.ValueClass", MutexValue)
        yield


def answer(request_id: str, *places: tuple[str, tuple[str, ...]]) -> Recommendation:
    items = tuple(RecommendedItem(item_id, 1.0, sources) for item_id, sources in places)
    return Recommendation(request_id, "version", items)


def counts(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == f"riverrun_source_{name}_total"
    }


sources = st.lists(st.sampled_from(SOURCES), min_size=1, unique=True).map(tuple)
lists = st.tuples(
    st.sampled_from(["r1", "r2", "r3"]),
    st.dictionaries(st.sampled_from("abcdef"), sources, max_size=6),
)
acts = st.tuples(
    st.sampled_from(["r1", "r2", "r3", "r4"]),
    st.sampled_from("abcdefg"),
    st.sampled_from([*TYPES, "unheard-of"]),
)


@given(st.lists(lists, max_size=6), st.lists(acts, max_size=20))
def test_shares_add_up(
    answered: list[tuple[str, dict[str, tuple[str, ...]]]], done: list[tuple[str, str, str]]
) -> None:
    registry = CollectorRegistry()
    shares = SourceShares(registry, 1_000, TYPES)
    for request_id, places in answered:
        shares.served(answer(request_id, *places.items()))
    total = sum(len(places) for _, places in answered)
    assert sum(counts(registry, "places").values()) == pytest.approx(total)
    for request_id, item_id, event_type in done * 2:
        shares.acted(request_id, item_id, event_type)
    known = {(request_id, item_id) for request_id, places in answered for item_id in places}
    expected = Counter(
        event_type if event_type in TYPES else "other"
        for request_id, item_id, event_type in sorted(set(done))
        if (request_id, item_id) in known
    )
    by_type: dict[str, float] = {}
    for (_, event_type), value in counts(registry, "acts").items():
        by_type[event_type] = by_type.get(event_type, 0.0) + value
    assert by_type == pytest.approx(dict(expected))


def test_a_place_is_split_between_those_who_propose_it() -> None:
    registry = CollectorRegistry()
    shares = SourceShares(registry, 100, TYPES)
    shares.served(
        answer(
            "r",
            ("a", ("two_tower", "ease")),
            ("b", ("ease",)),
            ("c", ("two_tower", "ease", "pinned")),
        )
    )
    assert counts(registry, "places") == {("two_tower",): 0.5, ("ease",): 1.5, ("pinned",): 1.0}
    shares.acted("r", "a", "purchase")
    shares.acted("r", "c", "view")
    assert counts(registry, "acts") == {
        ("two_tower", "purchase"): 0.5,
        ("ease", "purchase"): 0.5,
        ("pinned", "view"): 1.0,
    }


def test_the_newest_places_are_remembered() -> None:
    registry = CollectorRegistry()
    shares = SourceShares(registry, 2 * (LIST_PLACES + 2) + 1, TYPES)
    for request_id in ("old", "kept", "new"):
        shares.served(answer(request_id, ("a", ("ease",)), ("b", ("ease",))))
        shares.acted("kept", "a", "view")
    for request_id in ("old", "kept", "new"):
        shares.acted(request_id, "b", "purchase")
    assert counts(registry, "acts") == {("ease", "view"): 1.0, ("ease", "purchase"): 2.0}
    # A list that is longer than all that is remembered is not.
    places = LIST_PLACES + 6
    shares.served(answer("long", *((f"i{n}", ("ease",)) for n in range(places))))
    shares.acted("long", "i0", "view")
    assert counts(registry, "acts")["ease", "view"] == 1.0


def test_memory_goes_by_lists_as_well_as_by_their_places() -> None:
    remembered = {}
    for size in (1, 10, 100):
        shares = SourceShares(CollectorRegistry(), 20_000, TYPES)
        names = [f"i{n}" for n in range(size)]
        tracemalloc.start()
        for number in range(20_000 // size):
            shares.served(answer(f"r{number}", *((name, ("ease",)) for name in names)))
        remembered[size], _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert max(remembered.values()) < 20_000 * 50, remembered


def test_one_name_for_everything_keeps_the_newest() -> None:
    registry = CollectorRegistry()
    shares = SourceShares(registry, 10 * MOST_PLACES, TYPES)
    for number in range(MOST_PLACES // 500 + 1):
        shares.served(answer("same", *((f"{number}-{n}", ("ease",)) for n in range(500))))
    shares.acted("same", "0-0", "view")
    assert counts(registry, "acts") == {}
    shares.acted("same", f"{MOST_PLACES // 500}-0", "view")
    assert counts(registry, "acts") == {("ease", "view"): 1.0}


class Compared(str):
    """An id that counts how often it is compared with another."""

    times = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str.__eq__(self, other)


def test_an_act_is_found_without_a_look_at_every_place() -> None:
    registry = CollectorRegistry()
    shares = SourceShares(registry, 10 * MOST_PLACES, TYPES)
    ids = [f"i{number}" for number in range(MOST_PLACES)]
    for start in range(0, MOST_PLACES, 500):
        shares.served(answer("long", *((name, ("ease",)) for name in ids[start : start + 500])))
    for name in (ids[0], ids[-1], "absent"):
        shares.acted("long", Compared(name), "view")
    assert counts(registry, "acts") == {("ease", "view"): 2.0}
    assert Compared.times < 100


def test_an_item_that_is_shown_again_takes_no_second_place() -> None:
    registry = CollectorRegistry()
    shares = SourceShares(registry, 10 * MOST_PLACES, TYPES)
    shares.served(answer("same", ("first", ("ease",))))
    for _ in range(MOST_PLACES):
        shares.served(answer("same", ("a", ("ease",)), ("b", ("trending",))))
    shares.acted("same", "first", "view")
    assert counts(registry, "acts") == {("ease", "view"): 1.0}


def test_without_memory_places_alone_are_counted() -> None:
    registry = CollectorRegistry()
    shares = SourceShares(registry, 0, TYPES)
    shares.served(answer("r", ("a", ("ease",))))
    shares.acted("r", "a", "view")
    assert counts(registry, "places") == {("ease",): 1.0}
    assert counts(registry, "acts") == {}
