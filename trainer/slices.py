"""Parts of a task by how many events there are: new users and regulars, new items and old."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trainer.interactions import Interactions
from trainer.tasks import EvaluationTask

USER_SLICES = ((0, 0), (1, 1), (2, 5), (6, None))
ITEM_SLICES = ((0, 0), (1, 5), (6, None))
"""Numbers of events, from and to, both included; None is no upper bound."""


def slices(task: EvaluationTask, past: Interactions) -> Sequence[EvaluationTask]:
    """Return the parts of the task by users' events, then its parts by items' events."""
    return [*user_slices(task), *item_slices(task, past)]


def user_slices(task: EvaluationTask) -> Sequence[EvaluationTask]:
    """Return the task for the users of each of `USER_SLICES`, by the events in their histories."""
    counts = np.diff(task.histories.first_event)[task.users]
    slices = []
    for low, high in USER_SLICES:
        is_in = (counts >= low) & (counts <= (np.inf if high is None else high))
        part = task.of(np.flatnonzero(is_in))
        slices.append(replace(part, name=f"users with {_number(low, high)}"))
    return slices


def item_slices(task: EvaluationTask, past: Interactions) -> Sequence[EvaluationTask]:
    """Return the task for the relevant items of each of `ITEM_SLICES`, by their events in `past`.

    All items are ranked except the user's other relevant ones: ranking those first is no mistake.
    """
    counts = np.bincount(past.item, minlength=len(past.items))
    slices = []
    for low, high in ITEM_SLICES:
        is_in = (counts >= low) & (counts <= (np.inf if high is None else high))
        rows = [row for row, relevant in enumerate(task.relevant) if is_in[relevant].any()]
        slices.append(
            replace(
                task,
                name=f"items with {_number(low, high)}",
                users=task.users[rows],
                relevant=[task.relevant[row][is_in[task.relevant[row]]] for row in rows],
                excluded=[
                    np.union1d(task.excluded[row], task.relevant[row][~is_in[task.relevant[row]]])
                    for row in rows
                ],
            )
        )
    return slices


def _number(low: int, high: int | None) -> str:
    if high is None:
        return f"{low}+ events"
    if low == high:
        return f"{low} event" + ("" if low == 1 else "s")
    return f"{low}-{high} events"
