"""What is evaluated: whose future is asked for, after which past.

`temporal_task` is the protocol of the online-retail figures, `leave_one_out_task` the one of
the sequential recommendation papers (Kang and McAuley, ICDM 2018, arXiv:1808.09781).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.schema import Item
from trainer.interactions import Interactions

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationTask:
    """Users, what they did later, and what must not be shown to them.

    users: int64 [n], indices into `past.user_ids`; relevant, excluded: per user int64 item
    indices into `past.items`. Every relevant item is one of `past.items`.
    """

    name: str
    past: Interactions
    users: Indices
    relevant: Sequence[Indices]
    excluded: Sequence[Indices]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The past, and the tasks that ask about its future."""

    past: Interactions
    tasks: Sequence[EvaluationTask]


def temporal_split(
    events: pl.DataFrame, items: Sequence[Item], cut: datetime, end: datetime | None = None
) -> Split:
    """Split at `cut`: the past is before it, the future from it until `end`.

    The past's catalogue holds the items acted on in it. Two tasks: 'novel' leaves out what the
    user acted on before, as an answer and as a question; 'all' allows it. Users and items
    without a past are left out.
    """
    before = events.filter(pl.col("timestamp") < cut)
    after = events.filter(pl.col("timestamp") >= cut)
    if end is not None:
        after = after.filter(pl.col("timestamp") < end)
    past = Interactions.from_frame(before, _acted_on(before, items))
    seen = {user: np.unique(_items_of(past, user)) for user in range(len(past.user_ids))}
    future = _future(past, after)
    novel = {user: np.setdiff1d(wanted, seen[user]) for user, wanted in future.items()}
    nothing = np.zeros(0, dtype=np.int64)
    return Split(
        past,
        (
            _task("novel", past, novel, seen),
            _task("all", past, future, dict.fromkeys(future, nothing)),
        ),
    )


def leave_one_out_task(events: pl.DataFrame, items: Sequence[Item], held_out: int = 1) -> Split:
    """Ask for each user's last event; the past is all but the last `held_out` events.

    With `held_out` = 2 the task asks for the last but one: the validation of the papers; the
    test (1) is asked after a past of all but two as well, the validation item shown.
    """
    ordered = events.sort("user_id", "timestamp", "event_id")
    rank = pl.int_range(pl.len(), 0, -1, dtype=pl.Int64).over("user_id")
    ordered = ordered.with_columns(_from_end=rank)
    before = ordered.filter(pl.col("_from_end") > held_out)
    after = ordered.filter(pl.col("_from_end") == held_out)
    past = Interactions.from_frame(before, items)
    seen = {user: np.unique(_items_of(past, user)) for user in range(len(past.user_ids))}
    future = _future(past, after)
    new = {user: np.setdiff1d(wanted, seen[user]) for user, wanted in future.items()}
    return Split(past, (_task("leave-one-out", past, new, seen),))


def _acted_on(events: pl.DataFrame, items: Sequence[Item]) -> list[Item]:
    known = set(events["item_id"].unique())
    return [item for item in items if item.item_id in known]


def _items_of(past: Interactions, user: int) -> Indices:
    start, end = past.first_event[user : user + 2]
    return past.item[start:end].astype(np.int64)


def _future(past: Interactions, after: pl.DataFrame) -> dict[int, Indices]:
    users = {user_id: index for index, user_id in enumerate(past.user_ids)}
    items = {item.item_id: index for index, item in enumerate(past.items)}
    wanted: dict[int, set[int]] = {}
    for user_id, item_id in after.select("user_id", "item_id").unique().iter_rows():
        if user_id in users and item_id in items:
            wanted.setdefault(users[user_id], set()).add(items[item_id])
    return {user: np.array(sorted(of_user)) for user, of_user in sorted(wanted.items())}


def _task(
    name: str, past: Interactions, relevant: dict[int, Indices], excluded: dict[int, Indices]
) -> EvaluationTask:
    users = [user for user, wanted in relevant.items() if len(wanted)]
    return EvaluationTask(
        name,
        past,
        np.array(users, dtype=np.int64),
        [relevant[user] for user in users],
        [excluded[user] for user in users],
    )
