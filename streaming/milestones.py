"""What a state has passed: imports taken up, the first follower of a log, a rebuild, stores."""

from collections.abc import Iterable
from dataclasses import dataclass

_USERS, _ITEMS, _MARKS = "users/", "items/", "marks/"
"""Begin what is stored of others than segments of events, which no name of such a segment can."""
_FOLLOWED, _BEGUN, _ENDED = "stream.followed", "rebuild.begun", "rebuild.ended"


@dataclass(frozen=True, slots=True)
class Milestones:
    """Each is passed once, with a commit, and only a reset of the state takes it back.

    event_segments, user_segments, item_segments: those of imports that were taken up.
    store_marks: those of online stores that lack nothing but what is on a list (`store_watch`).
    is_followed: a worker may follow a log that others follow too: imports go through it now.
    rebuild_begun, rebuild_ended: between the two, the state is not whole.
    """

    event_segments: frozenset[str] = frozenset()
    user_segments: frozenset[str] = frozenset()
    item_segments: frozenset[str] = frozenset()
    store_marks: frozenset[str] = frozenset()
    is_followed: bool = False
    rebuild_begun: bool = False
    rebuild_ended: bool = False

    @classmethod
    def of_segments(
        cls, events: Iterable[str] = (), users: Iterable[str] = (), items: Iterable[str] = ()
    ) -> "Milestones":
        """Return those of having taken up these segments."""
        return cls(frozenset(events), frozenset(users), frozenset(items))

    @classmethod
    def decode(cls, stored: Iterable[str]) -> "Milestones":
        """Return what `encode` has made strings of, perhaps in several commits."""
        left = set(stored)
        flags = [flag in left for flag in (_FOLLOWED, _BEGUN, _ENDED)]
        left -= {_FOLLOWED, _BEGUN, _ENDED}
        users, items, marks = (
            {each for each in left if each.startswith(prefix)}
            for prefix in (_USERS, _ITEMS, _MARKS)
        )
        return cls(
            frozenset(left - users - items - marks),
            frozenset(each.removeprefix(_USERS) for each in users),
            frozenset(each.removeprefix(_ITEMS) for each in items),
            frozenset(each.removeprefix(_MARKS) for each in marks),
            *flags,
        )

    def encode(self) -> list[str]:
        """Return them as a state stores them: a string for each."""
        flags = {
            _FOLLOWED: self.is_followed,
            _BEGUN: self.rebuild_begun,
            _ENDED: self.rebuild_ended,
        }
        return [
            *sorted(self.event_segments),
            *(f"{_USERS}{each}" for each in sorted(self.user_segments)),
            *(f"{_ITEMS}{each}" for each in sorted(self.item_segments)),
            *(f"{_MARKS}{each}" for each in sorted(self.store_marks)),
            *(stored for stored, is_passed in flags.items() if is_passed),
        ]


NONE = Milestones()
FOLLOWED = Milestones(is_followed=True)
REBUILD_BEGUN = Milestones(rebuild_begun=True)
