"""The new model and the bundle that serves, asked what neither has learned from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import structlog

from trainer.baselines import Scorer
from trainer.evaluate import EvaluationRow, evaluate
from trainer.gates import CANDIDATE_ON_UNSEEN, CURRENT
from trainer.slices import answers_after
from trainer.tasks import EvaluationTask, Split

MakeScorer = Callable[[Split], Scorer]
"""From the split whose users are asked about."""


@dataclass(frozen=True, slots=True)
class Current:
    """The bundle that serves. end: the newest event that it learned from, None where there is none.

    scorer_of: makes a scorer of it, named `CURRENT`.
    """

    scorer_of: MakeScorer
    end: datetime | None


def compared(
    current: Current,
    candidate: Scorer,
    split: Split,
    tasks: Sequence[EvaluationTask],
    features: npt.NDArray[np.float32] | None,
) -> list[EvaluationRow]:
    """Return the rows by which gates compare the candidate with the current bundle.

    Where the current bundle has learned from some of the answers, it would give them from memory.
    So both are asked for the others alone, in rows `CANDIDATE_ON_UNSEEN` and `CURRENT`, and what
    the current bundle makes of all of them is told under another name, which says how many it has
    seen.

    candidate: knows nothing of the split's future. tasks: of the split, the last of all answers.
    features: as in `trainer.evaluate.evaluate`.
    """
    scorer = current.scorer_of(split)
    rows = [evaluate(scorer, task, features) for task in tasks]
    if current.end is None:
        return rows
    unseen = [answers_after(task, split.future, current.end) for task in tasks]
    share = 1 - _num_answers(unseen[-1]) / _num_answers(tasks[-1])
    if not share:
        return rows
    structlog.get_logger(__name__).warning(
        "current_bundle_has_seen",
        answers=round(share, 3),
        users_left=len(unseen[-1].users),
        until=current.end.isoformat(),
    )
    seen = f"{CURRENT}, which has seen {100 * share:.0f} % of the answers"
    asked = [task for task in unseen if len(task.users)]
    return [
        *(replace(row, scorer=seen) for row in rows),
        *(evaluate(scorer, task, features) for task in asked),
        *(
            replace(evaluate(candidate, task, features), scorer=CANDIDATE_ON_UNSEEN)
            for task in asked
        ),
    ]


def _num_answers(task: EvaluationTask) -> int:
    return sum(map(len, task.relevant))
