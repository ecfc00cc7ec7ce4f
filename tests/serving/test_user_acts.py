"""A history by item is what counting its events one by one gives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.history import HistoryEvent
from feature_repo.times import DAY, HOUR
from serving.item_rows import ItemRows
from serving.user_acts import VISIT, UserActs

TIMES = st.integers(0, 50).map(lambda hours: hours * HOUR)
EVENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "gone"]), TIMES, st.sampled_from(["view", "buy"]))
)
TAKING = st.sampled_from([(), ("buy",), ("buy", "view"), ("rent",)])


@given(EVENTS, TAKING)
def test_it_counts_as_a_loop_does(
    given_: list[tuple[str, int, str]], taking: tuple[str, ...]
) -> None:
    rows = ItemRows(["c", "b", "a"])
    events = [
        HistoryEvent(time, f"e{n}", item, kind, 0.0) for n, (item, time, kind) in enumerate(given_)
    ]
    acts = UserActs.of(events, rows, taking)
    known = [(item, time) for item, time, _ in given_ if item != "gone"]
    assert rows.ids_of(acts.rows).tolist() == sorted(
        {i for i, _ in known}, key=["c", "b", "a"].index
    )
    for place, item in enumerate(rows.ids_of(acts.rows)):
        times = sorted(time for each, time in known if each == item)
        assert (acts.counts[place], acts.last[place]) == (len(times), times[-1])
        taken = sorted(t for each, t, kind in given_ if each == item and kind in (taking or kind))
        visits = [time for n, time in enumerate(taken) if not n or time - taken[n - 1] >= VISIT]
        assert (acts.visits[place], acts.first_taken[place], acts.last_taken[place]) == (
            len(visits),
            min(taken, default=0),
            max(taken, default=0),
        )
        # As a history has them: in the order of time, and of one moment as they were given.
        in_order = [each for each, _ in sorted(known, key=lambda pair: pair[1])]
        assert acts.newer[place] == in_order[::-1].index(item)
    assert acts.num_events == len(known)
    assert acts.num_moments == len({time for _, time in known})


def test_an_act_fades_from_the_newest_on() -> None:
    acts = UserActs.of_columns(np.array([4, 2]), np.array([0, int(DAY)]))
    np.testing.assert_allclose(acts.decayed(2.0), [1.0, np.exp(-0.5)], rtol=1e-6)
    np.testing.assert_allclose(acts.decayed(2.0, 4.0), [1.0, np.exp(-0.75)], rtol=1e-6)
    assert acts.places_of(np.array([4, 3, 2])).tolist() == [1, -1, 0]


def test_nobody_has_done_nothing() -> None:
    acts = UserActs.of([], ItemRows())
    assert (len(acts), acts.num_events, acts.newest) == (0, 0, 0)
    assert acts.places_of(np.array([1, 2])).tolist() == [-1, -1]
