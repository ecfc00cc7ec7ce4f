"""Milestones are stored as they always were, whatever holds them in memory."""

from hypothesis import given
from hypothesis import strategies as st

from streaming.milestones import Milestones

# As the names of imports are: `feature_repo.archive` makes files of them.
SEGMENTS = st.sets(st.from_regex(r"import-[a-z0-9 ü.-]{1,8}", fullmatch=True))

MARKS = st.sets(st.uuids().map(lambda mark: mark.hex))


SHOPS = st.just("") | st.uuids().map(lambda shop: shop.hex)


@given(SEGMENTS, SEGMENTS, SEGMENTS, MARKS, st.booleans(), st.booleans(), st.booleans(), SHOPS)
def test_what_is_stored_is_what_is_read(
    events: set[str],
    users: set[str],
    items: set[str],
    marks: set[str],
    followed: bool,
    begun: bool,
    ended: bool,
    shop: str,
) -> None:
    sets = (events, users, items, marks)
    passed = Milestones(*map(frozenset, sets), followed, begun, ended, shop)
    assert Milestones.decode(passed.encode()) == passed
    assert len(passed.encode()) == sum(map(len, sets)) + followed + begun + ended + bool(shop)


def test_what_earlier_versions_stored_is_read() -> None:
    stored = {
        "rebuild.begun", "rebuild.ended", "stream.followed",
        "import-1", "users/import-1", "users/import-2",
    }  # fmt: skip
    passed = Milestones(
        event_segments=frozenset({"import-1"}),
        user_segments=frozenset({"import-1", "import-2"}),
        is_followed=True,
        rebuild_begun=True,
        rebuild_ended=True,
    )
    assert Milestones.decode(stored) == passed
    assert set(passed.encode()) == stored
