"""The new values that a commit stores, and that are published afterwards."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from feature_repo.history import UserHistory
from feature_repo.online_features import CoVisitation, ItemStatistics
from feature_repo.schema import Item, User
from streaming.additive import ADDITIVE
from streaming.erasures import Moments
from streaming.fold_in import FoldIn

VISIBLE = ("histories", "items", "users", *(kind.name for kind in ADDITIVE))
"""The fields that are published. The others are for the state alone."""


@dataclass(slots=True)
class Updates:
    """New values by user or item id; None where something was deleted.

    A history without events is one that was erased. moments: of the events of each history; a
    history without moments was imported. erasures: the moments of new erasure marks. outdated:
    marks of earlier moments are dropped. statistics, co_visitation, fold_in: see `ADDITIVE`.
    """

    histories: dict[str, UserHistory] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    erasures: dict[str, int] = field(default_factory=dict)
    outdated: int = 0
    statistics: dict[str, ItemStatistics] = field(default_factory=dict)
    co_visitation: dict[str, CoVisitation] = field(default_factory=dict)
    fold_in: dict[str, FoldIn] = field(default_factory=dict)
    items: dict[str, Item | None] = field(default_factory=dict)
    users: dict[str, User | None] = field(default_factory=dict)

    @classmethod
    def together(cls, parts: Iterable["Updates"]) -> "Updates":
        """Return the values of all parts; where two have one key, the later part's."""
        whole = cls()
        for part in parts:
            for name in (*VISIBLE, "moments", "erasures"):
                values: dict[str, Any] = getattr(whole, name)
                values.update(getattr(part, name))
            whole.outdated = max(whole.outdated, part.outdated)
        return whole

    @property
    def is_visible(self) -> bool:
        """Whether there is anything to publish."""
        return any(getattr(self, name) for name in VISIBLE)
