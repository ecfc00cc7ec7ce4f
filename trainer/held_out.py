"""What is held out of the events, and who is asked about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from trainer.held_out_splits import held_out_splits
from trainer.material import Material
from trainer.ranking.fitted_tables import FittedTables
from trainer.settings import TrainingSettings
from trainer.tasks import EvaluationTask, Split
from trainer.windows import has_labels

JUDGED_USERS = 2_000
"""At most so many users judge an epoch: asking all of a large shop takes longer than an epoch."""


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What is held out, and what is asked about it.

    splits: those that the ranker may learn from, the newest first. judged: int64, the users of the
    newest split's past by whom a model is judged. tasks: the newest split's tasks, for these users
    alone; the last is 'all', or the only one. tables: the tables that were fitted on the splits'
    pasts, kept for later calls.
    """

    splits: Sequence[Split]
    judged: npt.NDArray[np.int64]
    tasks: Sequence[EvaluationTask]
    tables: FittedTables

    @property
    def split(self) -> Split:
        """The newest split, by which models are judged."""
        return self.splits[0]


def hold_out(material: Material) -> HeldOut | None:
    """Return what is held out of a training.

    None where no user can be asked about it, or nothing before it can be learned from.
    """
    settings, unseen_since = material.settings, material.start.unseen_since
    every = held_out_splits(material.events, material.items, settings, unseen_since)
    splits = list(islice(every, max(settings.ranking.slices, 1)))
    if not splits or not len(splits[0].tasks[-1].users):
        return None
    if not has_labels(splits[0].past, settings):
        return None
    judged = _judged(splits[0].tasks[-1], settings)
    # Users who only come back to items that they know are asked by the task 'all' alone.
    asked = (task.of(np.flatnonzero(np.isin(task.users, judged))) for task in splits[0].tasks)
    tasks = [task for task in asked if len(task.users)]
    tables = FittedTables(material.text_embeddings_of, settings.weightless)
    return HeldOut(splits, judged, tasks, tables)


def _judged(task: EvaluationTask, settings: TrainingSettings) -> npt.NDArray[np.int64]:
    """Return the users by whom a model is judged, drawn once.

    At most `JUDGED_USERS`, and at most half of all where the others are enough for a ranker to
    learn from.
    """
    users, ranking = task.users, settings.ranking
    count = min(JUDGED_USERS, len(users))
    if ranking.enabled and ranking.slices and len(users) >= 2 * ranking.min_users:
        count = min(count, -(-len(users) // 2))
    drawn = np.random.default_rng(settings.seed).choice(len(users), count, replace=False)
    return np.sort(users[drawn])
