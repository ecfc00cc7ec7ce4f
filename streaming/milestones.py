"""What a state remembers of its past: imports taken up, workers, rebuilds, online stores."""

from collections.abc import Iterable
from dataclasses import dataclass

_USERS, _ITEMS, _MARKS, _SHOP = "users/", "items/", "marks/", "shop/"
"""Prefixes of all that is stored but event segments, whose names have no slash."""
_FOLLOWED, _BEGUN, _ENDED = "stream.followed", "rebuild.begun", "rebuild.ended"


@dataclass(frozen=True, slots=True)
class Milestones:
    """Each is set once, with a commit, and only a reset of the state unsets it.

    event_segments, user_segments, item_segments: imported segments that were taken up.
    store_marks: marks of online stores that lack nothing but what is on a list (`store_watch`).
    is_followed: workers that share a log may follow it, so imports go through the log now.
    rebuild_begun, rebuild_ended: between the two, the state is not whole.
    shop: the id of the archive that belongs to the state, or "" (`shop_identity`).
    """

    event_segments: frozenset[str] = frozenset()
    user_segments: frozenset[str] = frozenset()
    item_segments: frozenset[str] = frozenset()
    store_marks: frozenset[str] = frozenset()
    is_followed: bool = False
    rebuild_begun: bool = False
    rebuild_ended: bool = False
    shop: str = ""

    @property
    def is_half_rebuilt(self) -> bool:
        """Whether a rebuild was interrupted: it must be repeated."""
        return self.rebuild_begun and not self.rebuild_ended

    @classmethod
    def of_segments(
        cls, events: Iterable[str] = (), users: Iterable[str] = (), items: Iterable[str] = ()
    ) -> "Milestones":
        """Return the milestones of having taken up these segments."""
        return cls(frozenset(events), frozenset(users), frozenset(items))

    @classmethod
    def decode(cls, stored: Iterable[str]) -> "Milestones":
        """Return the milestones of strings that `encode` made, in one commit or several."""
        left = set(stored)
        followed, begun, ended = (flag in left for flag in (_FOLLOWED, _BEGUN, _ENDED))
        left -= {_FOLLOWED, _BEGUN, _ENDED}
        users, items, marks, shops = (
            {each for each in left if each.startswith(prefix)}
            for prefix in (_USERS, _ITEMS, _MARKS, _SHOP)
        )
        return cls(
            frozenset(left - users - items - marks - shops),
            frozenset(each.removeprefix(_USERS) for each in users),
            frozenset(each.removeprefix(_ITEMS) for each in items),
            frozenset(each.removeprefix(_MARKS) for each in marks),
            followed,
            begun,
            ended,
            "".join(shops).removeprefix(_SHOP),
        )

    def encode(self) -> list[str]:
        """Return the strings that a state stores, one for each milestone."""
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
            *([f"{_SHOP}{self.shop}"] if self.shop else []),
        ]


NONE = Milestones()
FOLLOWED = Milestones(is_followed=True)
REBUILD_BEGUN = Milestones(rebuild_begun=True)
