"""A history by item is what counting its events one by one gives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.history import HistoryEvent
from feature_repo.times import DAY, HOUR
from serving.item_rows import ItemRows
from serving.user_acts import VISIT, UserActs

TIMES = st.integers(0, 50).map(lambda hours: hours * HOUR)
EVENTS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "gone"]), TIMES))


@given(EVENTS)
def test_it_counts_as_a_loop_does(pairs: list[tuple[str, int]]) -> None:
    rows = ItemRows(["c", "b", "a"])
    events = [
        HistoryEvent(time, f"e{n}", item, "view", 0.0) for n, (item, time) in enumerate(pairs)
    ]
    acts = UserActs.of(events, rows)
    known = [(item, time) for item, time in pairs if item != "gone"]
    assert rows.ids_of(acts.rows).tolist() == sorted(
        {i for i, _ in known}, key=["c", "b", "a"].index
    )
    for place, item in enumerate(rows.ids_of(acts.rows)):
        times = sorted(time for each, time in known if each == item)
        visits = [time for n, time in enumerate(times) if not n or time - times[n - 1] >= VISIT]
        counts = acts.counts[place], acts.visits[place]
        assert (*counts, acts.first[place], acts.last[place]) == (
            len(times),
            len(visits),
            min(times),
            max(times),
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
