"""What is evaluated: which users are asked about which future, after which past.

`temporal_split` is the protocol of the online-retail figures, `everyone_split` the same with
new users and items, `leave_one_out_split` the protocol of the sequential recommendation papers
(Kang and McAuley, ICDM 2018, arXiv:1808.09781).

Events of a type that is `weightless`, as an impression or a hide may be, are known of users and
items as any other, but are no answers.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.history import EVENT_KEY
from feature_repo.schema import Item
from feature_repo.times import microseconds
from trainer.interactions import Interactions

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationTask:
    """Users, what they did later, and what must not be shown to them.

    histories: what is known of the users when they are asked about. users: int64 [n], indices
    into `histories.user_ids`; relevant, excluded: per user int64 item indices into
    `histories.items`. Every relevant item is one of these, and every user has one.
    """

    name: str
    histories: Interactions
    users: Indices
    relevant: Sequence[Indices]
    excluded: Sequence[Indices]

    def of(self, rows: Indices) -> "EvaluationTask":
        """Return the task for some of its users, int64 [m], by their place in `users`."""
        return replace(
            self,
            users=self.users[rows],
            relevant=[self.relevant[row] for row in rows],
            excluded=[self.excluded[row] for row in rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The past, and the tasks that ask about its future.

    past: what models are fitted on. histories: what is known of users when they are asked about,
    over the same catalogue; it is the past itself, or the past and later events. future: what
    happened then, columns of `feature_repo.schema.Event`; the tasks are made of what counts of it.
    moments: int64 [number of users in histories], microseconds, when each user is asked; None where
    times mean nothing.
    """

    past: Interactions
    histories: Interactions
    tasks: Sequence[EvaluationTask]
    future: pl.DataFrame
    moments: npt.NDArray[np.int64] | None = None

    @property
    def asks_for_new_alone(self) -> bool:
        """Whether no task counts an item as relevant that its user has acted on before."""
        return all(any(map(len, task.excluded)) for task in self.tasks)

    @property
    def returning(self) -> Indices:
        """Users of the past who act in the future: no others are asked about or learned from."""
        users = self.future["user_id"].unique().implode()
        return pl.Series(self.past.user_ids, dtype=pl.String).is_in(users).arg_true().to_numpy()


def temporal_split(
    events: pl.DataFrame,
    items: Sequence[Item],
    cut: datetime,
    end: datetime | None = None,
    *,
    weightless: Collection[str] = (),
) -> Split:
    """Split at `cut`: the past is before it, the future from it until `end`.

    The past's catalogue holds the items acted on in it. Two tasks: in 'novel', items that the user
    acted on before are neither relevant nor ranked; 'all' allows them. Users and items without a
    past are left out.
    """
    before = events.filter(pl.col("timestamp") < cut)
    after = events.filter(pl.col("timestamp") >= cut)
    if end is not None:
        after = after.filter(pl.col("timestamp") < end)
    past = Interactions.from_frame(before, _acted_on(before, items))
    future = _future(past, after, weightless)
    seen = {user: np.unique(_items_of(past, user)) for user in future}
    novel = {user: np.setdiff1d(wanted, seen[user]) for user, wanted in future.items()}
    nothing = dict.fromkeys(future, np.zeros(0, dtype=np.int64))
    tasks = _task("novel", past, novel, seen), _task("all", past, future, nothing)
    return Split(past, past, tasks, after, _moments(past, after))


def returning_users(
    interactions: Interactions, cut: datetime, weightless: Collection[str] = ()
) -> Indices:
    """Return the users of the task 'all' of a `temporal_split` at `cut`, without making the split.

    They acted before the cut, and from the cut on acted on an item that was acted on before it:
    int64 [n], ascending, into `interactions.user_ids`.
    """
    is_past = interactions.timestamp < microseconds(cut)
    user, item = interactions.user, interactions.item
    known = np.isin(user, user[is_past]) & np.isin(item, item[is_past])
    is_answer = known & ~is_past & ~interactions.is_of(weightless)
    return np.unique(user[is_answer]).astype(np.int64)


def everyone_split(
    events: pl.DataFrame,
    items: Sequence[Item],
    cut: datetime,
    end: datetime | None = None,
    *,
    weightless: Collection[str] = (),
) -> Split:
    """Split at `cut` as `temporal_split` does, but with new users and new items.

    One task, 'everyone': what anybody acted on from `cut` until `end`. The catalogue holds all
    items acted on until `end`, as if the shop knew what it will sell; histories hold all users who
    are asked. Where neither user nor item has a past, a recommender can only guess.
    """
    until = events if end is None else events.filter(pl.col("timestamp") < end)
    before, after = (
        until.filter(pl.col("timestamp") < cut),
        until.filter(pl.col("timestamp") >= cut),
    )
    catalogue = _acted_on(until, items)
    known = {item.item_id for item in catalogue}
    past = Interactions.from_frame(before, catalogue)
    answers = after.filter(_can_be_answers(weightless))
    asked = answers.filter(pl.col("item_id").is_in(list(known)))["user_id"].unique()
    histories = past.with_users(asked)
    future = _future(histories, after, weightless)
    nothing = dict.fromkeys(future, np.zeros(0, dtype=np.int64))
    task = _task("everyone", histories, future, nothing)
    return Split(past, histories, (task,), after, _moments(histories, after))


def leave_one_out_split(
    events: pl.DataFrame,
    items: Sequence[Item],
    held_out: int = 1,
    unseen: int = 2,
    *,
    weightless: Collection[str] = (),
) -> Split:
    """Ask for each user's event number `held_out` from the end, of those that can be answers.

    Models are fitted on what came before the last `unseen` such events of each user. Where `unseen`
    is 2, `held_out` 1 is the test and 2 the validation. The events before the one that is asked for
    are the user's history, whose items are never shown. All of `items` are ranked. Users without a
    history, and those whose event is on an item of their history, are left out.

    Raises:
        ValueError: `held_out` is not in 1..`unseen`.
    """
    if not 1 <= held_out <= unseen:
        raise ValueError(f"`held_out` must be in 1..{unseen}. Received: {held_out}.")
    ordered = events.unique(EVENT_KEY, keep="first").sort("user_id", "timestamp", "event_id")
    can_be_asked = _can_be_answers(weightless).cast(pl.Int64)
    later = can_be_asked.cum_sum(reverse=True).over("user_id") - can_be_asked
    ordered = ordered.with_columns(_from_end=later + 1)
    past = Interactions.from_frame(ordered.filter(pl.col("_from_end") > unseen), items)
    known = ordered.filter(pl.col("_from_end") > held_out)
    histories = past if held_out == unseen else Interactions.from_frame(known, items)
    asked = ordered.filter(pl.col("_from_end") == held_out).drop("_from_end")
    future = _future(histories, asked, weightless)
    seen = {user: np.unique(_items_of(histories, user)) for user in future}
    new = {user: np.setdiff1d(wanted, seen[user]) for user, wanted in future.items()}
    return Split(past, histories, (_task("leave-one-out", histories, new, seen),), asked)


def _acted_on(events: pl.DataFrame, items: Sequence[Item]) -> list[Item]:
    known = set(events["item_id"].unique())
    return [item for item in items if item.item_id in known]


def _moments(histories: Interactions, after: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Return int64 [num_users], each user's first time in `after`, or else the histories' end.

    A list is asked for at this moment, but only the time is taken from it: what anybody did after
    the histories end stays unknown.
    """
    first = after.group_by("user_id").agg(pl.col("timestamp").min().dt.epoch("us"))
    came = dict(first.iter_rows())
    end = microseconds(histories.end)
    return np.array([came.get(user_id, end) for user_id in histories.user_ids], dtype=np.int64)


def _items_of(histories: Interactions, user: int) -> Indices:
    start, end = histories.first_event[user : user + 2]
    return histories.item[start:end].astype(np.int64)


def _can_be_answers(weightless: Collection[str]) -> pl.Expr:
    return ~pl.col("event_type").is_in(list(weightless))


def _future(
    histories: Interactions, after: pl.DataFrame, weightless: Collection[str]
) -> dict[int, Indices]:
    """Return the answers' items of `after` by user, for known users and known items only."""
    users = {user_id: index for index, user_id in enumerate(histories.user_ids)}
    items = {item.item_id: index for index, item in enumerate(histories.items)}
    wanted: dict[int, set[int]] = {}
    answers = after.filter(_can_be_answers(weightless))
    for user_id, item_id in answers.select("user_id", "item_id").unique().iter_rows():
        if user_id in users and item_id in items:
            wanted.setdefault(users[user_id], set()).add(items[item_id])
    return {user: np.array(sorted(of_user), np.int64) for user, of_user in sorted(wanted.items())}


def _task(
    name: str, histories: Interactions, relevant: dict[int, Indices], excluded: dict[int, Indices]
) -> EvaluationTask:
    users = [user for user, wanted in relevant.items() if len(wanted)]
    return EvaluationTask(
        name,
        histories,
        np.array(users, dtype=np.int64),
        [relevant[user] for user in users],
        [excluded[user] for user in users],
    )
