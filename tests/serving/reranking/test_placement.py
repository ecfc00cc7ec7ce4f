"""Pins at their places, shares within their bounds, and the same beginning for every length."""

from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.reranking import placement
from serving.reranking.caps import NO_GROUP, Cap, Caps
from serving.reranking.exploration import AT_A_TIME, _number, explored_places, explored_rows
from serving.reranking.greedy import greedy_order
from serving.reranking.placement import Placed, Promotion, place
from serving.source_names import EXPLORED, PINNED, PROMOTED

NONE = np.empty(0, np.int64)
shares = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.9, 1.0])
seeds = st.text(max_size=5)
AHEAD = 3


@given(shares, st.integers(0, 200), st.integers(0, 200), seeds)
def test_places_to_explore_are_bounded_in_every_beginning(
    share: float, one: int, other: int, seed: str
) -> None:
    beginning, count = sorted((one, other))
    places = explored_places(share, count, seed)
    assert places.tolist() == sorted(set(places.tolist()))
    assert np.count_nonzero(places < beginning) <= ceil(share * beginning)
    if share == 1.0:
        assert places.tolist() == list(range(count))
    shorter = explored_places(share, beginning, seed)
    assert shorter.tolist() == places[places < beginning].tolist()


def test_a_share_of_places_is_explored_on_average() -> None:
    """Of lists that are shorter than 1 / share, some have a place and others none."""
    counts = [len(explored_places(0.1, 5, str(seed))) for seed in range(2_000)]
    assert set(counts) == {0, 1}
    assert np.mean(counts) == pytest.approx(0.5, abs=0.05)


@given(st.sets(st.integers(0, 2**64 - 1)), st.sets(st.integers(0, 99)), st.integers(0, 99), seeds)
def test_an_item_more_changes_nothing_between_the_others(
    ids: set[int], gone: set[int], count: int, seed: str
) -> None:
    hashes = np.array(sorted(ids), np.uint64)
    rows = np.arange(len(hashes))
    order = explored_rows(rows, hashes, len(rows), seed).tolist()
    assert sorted(order) == rows.tolist()
    assert explored_rows(rows, hashes, count, seed).tolist() == order[:count]
    # Nor does another number for an item, as another replica has.
    rest = np.setdiff1d(rows, list(gone))[::-1]
    drawn = explored_rows(rest, hashes, len(rest), seed).tolist()
    assert drawn == [row for row in order if row not in gone]


def test_of_many_rows_the_first_of_all_are_drawn() -> None:
    hashes = np.random.default_rng(0).integers(2**64, size=3 * AT_A_TIME + 7, dtype=np.uint64)
    rows = np.arange(len(hashes))
    order = explored_rows(rows, hashes, len(rows), "seed")
    drawn = hashes[order] * np.uint64(_number("seed") | 1)
    assert (drawn[1:] > drawn[:-1]).all()
    for count in (1, 20, AT_A_TIME + 1):
        assert explored_rows(rows, hashes, count, "seed").tolist() == order[:count].tolist()


def test_the_seed_draws() -> None:
    rows = np.arange(50)
    hashes = np.random.default_rng(0).integers(2**64, size=50, dtype=np.uint64)
    assert len({tuple(explored_places(0.2, 50, str(seed)).tolist()) for seed in range(9)}) == 9
    orders = np.array([explored_rows(rows, hashes, 50, str(seed)) for seed in range(2_000)])
    # Every item is the first of its share of lists: 40 of 2,000.
    assert np.ptp(np.bincount(orders[:, 0], minlength=50)) < 60


NUM_ROWS = 60


@st.composite
def wishes(draw: st.DrawFn) -> dict[str, object]:
    size = draw(st.integers(0, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    some = random.permutation(NUM_ROWS)
    pins = dict(
        zip(draw(st.sets(st.integers(0, 45), max_size=4)), some[-4:].tolist(), strict=False)
    )
    share, seed = draw(shares), draw(seeds)
    halves = draw(st.sampled_from([(), (0.5,), (0.2, 0.3), (1.0,)]))
    promotions = []
    for each in halves:
        matches = random.random(NUM_ROWS) < 0.3
        promotions.append(Promotion(each, random.permutation(np.flatnonzero(matches)), matches))
    return {
        "ranked": some[:size],
        "pins": pins,
        "explored_places": explored_places(share, 100, seed),
        "explored_rows": random.permutation(NUM_ROWS)[: draw(st.integers(0, 20))],
        "promotions": promotions,
    }


def placed(wish: dict[str, object], count: int) -> Placed:
    return place(count=count, **wish)  # type: ignore[arg-type]


@given(wishes(), st.integers(0, 70), st.integers(0, 70))
def test_lists_are_distinct_and_a_longer_one_goes_on(
    wish: dict[str, object], one: int, other: int
) -> None:
    short, long = placed(wish, min(one, other)), placed(wish, max(one, other))
    assert len(set(long.rows.tolist())) == len(long.rows) <= max(one, other)
    assert short.rows.tolist() == long.rows.tolist()[: len(short.rows)]
    assert short.origins.items() <= long.origins.items()
    # As many as there are.
    ranked, pins = wish["ranked"], wish["pins"]
    known = {*ranked.tolist(), *pins.values()}  # type: ignore[attr-defined]
    assert len(long.rows) >= min(max(one, other), len(known))


@given(wishes())
def test_pins_have_their_places(wish: dict[str, object]) -> None:
    rows = placed(wish, 70).rows.tolist()
    pins: dict[int, int] = wish["pins"]  # type: ignore[assignment]
    late = []
    for at, row in sorted(pins.items()):
        # What is pinned beyond the end comes last, in order.
        if rows.index(row) != at:
            assert rows.index(row) < at
            late.append(rows.index(row))
    assert late == sorted(late)


@given(wishes())
def test_shares_are_bounded_in_every_beginning(wish: dict[str, object]) -> None:
    found = placed(wish, 70)
    wished = set(wish["explored_places"].tolist())  # type: ignore[attr-defined]
    assert {at for at, by in found.origins.items() if by == EXPLORED} <= wished
    promotions: list[Promotion] = wish["promotions"]  # type: ignore[assignment]
    total = sum(promotion.share for promotion in promotions)
    for end in range(len(found.rows) + 1):
        given_ = sum(by == PROMOTED for at, by in found.origins.items() if at < end)
        assert given_ <= floor(total * end + 1e-6)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 1.0])
def test_a_promotion_has_its_share_of_every_beginning(share: float) -> None:
    matches = np.arange(200) % 20 == 19
    matches[100:] = True
    promotion = Promotion(share, np.flatnonzero(matches), matches)
    found = place(
        np.arange(100),
        80,
        pins={},
        explored_places=NONE,
        explored_rows=NONE,
        promotions=[promotion],
    )
    counts = np.cumsum(matches[found.rows])
    for end in range(1, 81):
        assert counts[end - 1] >= floor(share * end + 1e-9)
    # What is there by rank counts.
    assert sum(by == PROMOTED for by in found.origins.values()) <= share * 80


@given(
    wishes(),
    st.lists(st.tuples(st.integers(1, 3), st.integers(2, 12)), min_size=1, max_size=2),
    st.integers(2, 5),
    st.integers(0, 70),
)
def test_only_rules_break_a_cap_that_a_candidate_would_keep(
    wish: dict[str, object], sizes: list[tuple[int, int]], num_groups: int, count: int
) -> None:
    ranked: np.ndarray = wish["ranked"]  # type: ignore[assignment]
    pins: dict[int, int] = wish["pins"]  # type: ignore[assignment]
    random = np.random.default_rng(len(ranked))
    drawn = random.permutation(NUM_ROWS)[: 3 * len(ranked)]
    groups = random.integers(0, num_groups, (len(sizes), NUM_ROWS)).astype(np.int32)

    def capped(end: int) -> Placed:
        caps = [Cap(of, ranked, *size) for of, size in zip(groups, sizes, strict=True)]
        needed = end + len(pins)
        order = greedy_order(np.ones(len(ranked)), [], caps, needed)
        changes = {
            "ranked": map(ranked.tolist().__getitem__, order),
            "explored_rows": drawn[: needed + AHEAD],
            "caps": Caps(caps, ranked),
        }
        return placed(wish | changes, end)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement, "AHEAD", AHEAD)
        whole = capped(70)
        short = capped(count)
    rows = whole.rows.tolist()
    assert short.rows.tolist() == rows[:count]
    for at, row in enumerate(rows):
        before = rows[:at]

        def broken(row: int, before: list[int] = before) -> int:
            return sum(
                int(of[row]) != NO_GROUP
                and of[before[max(len(before) - window + 1, 0) :]].tolist().count(of[row]) >= most
                for of, (most, window) in zip(groups, sizes, strict=True)
            )

        origin = whole.origins.get(at)
        left = set(ranked.tolist()) - {*before, *pins.values()}
        if origin not in (PINNED, PROMOTED):
            assert broken(row) <= min(map(broken, left), default=broken(row))
        # Nor does exploration give way but to a candidate that breaks fewer.
        ahead = [each for each in drawn.tolist() if each not in {*before, *pins.values()}][:AHEAD]
        if origin != PINNED and at in wish["explored_places"]:  # type: ignore[operator]
            fewest = min(map(broken, ahead), default=None)
            is_best = fewest is not None and fewest <= min(map(broken, left), default=fewest)
            assert (origin == EXPLORED) == is_best


class CountedCaps(Caps):
    looks = 0

    def broken_by(self, groups: tuple[int, ...]) -> int:
        self.looks += 1
        return super().broken_by(groups)


@pytest.mark.parametrize("num_groups", [1, 3])
def test_a_place_to_explore_needs_a_look_a_group_however_many_rows_wait(num_groups: int) -> None:
    count, size = 200, 500
    groups = (np.arange(2 * size) % num_groups + 1).astype(np.int32)
    candidates = np.arange(size)
    caps = CountedCaps([Cap(groups, candidates, 1, 10)], candidates)
    found = place(
        candidates,
        count,
        pins={},
        explored_places=np.arange(count),
        explored_rows=np.arange(size, 2 * size),
        promotions=[],
        caps=caps,
    )
    assert len(found.rows) == count
    assert caps.looks <= count * num_groups


def test_without_wishes_the_order_stays() -> None:
    found = place(np.arange(5), 3, pins={}, explored_places=NONE, explored_rows=NONE, promotions=[])
    assert found.rows.tolist() == [0, 1, 2]
    assert not found.origins


def test_one_candidate_may_be_wished_for_in_every_way() -> None:
    matches = np.ones(1, np.bool_)
    found = place(
        np.array([0]),
        10,
        pins={7: 0},
        explored_places=np.arange(10),
        explored_rows=np.array([0]),
        promotions=[Promotion(1.0, np.array([0]), matches)],
    )
    assert (found.rows.tolist(), found.origins) == ([0], {0: PINNED})
