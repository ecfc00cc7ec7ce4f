"""Compares the bundle that serves with the new model, where it has seen no more than that."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl
import structlog

from trainer.baselines import Scorer
from trainer.evaluate import EvaluationRow, evaluate
from trainer.tasks import EvaluationTask, Split

CANDIDATE, CURRENT = "all together", "current bundle"
"""Names of the rows that are compared."""
CURRENT_HAS_SEEN = f"{CURRENT}, which has seen"
"""Begins the row's name where the current bundle knows some answers, so is not compared."""

MakeScorer = Callable[[Split], Scorer]
"""Makes a scorer for the split whose users are asked about."""


@dataclass(frozen=True, slots=True)
class Current:
    """The bundle that serves.

    scorer_of: makes a scorer of it, named `CURRENT`. end: the time of the newest event that it
    learned from, None where there is none.
    """

    scorer_of: MakeScorer
    end: datetime | None


def compared(
    current: Current,
    split: Split,
    tasks: Sequence[EvaluationTask],
    features: npt.NDArray[np.float32] | None,
) -> list[EvaluationRow]:
    """Return the rows of the current bundle, named `CURRENT` where they may be compared.

    The new model has learned from the split's past alone. A current bundle that has learned
    from some of the split's future has an advantage even for the events after its own end: it
    knows what is liked of late, and what these users did last. Its rows are then given a name that
    no gate reads, and that says how much of the future it has seen.

    tasks: of the split. features: as in `trainer.evaluate.evaluate`.
    """
    scorer = current.scorer_of(split)
    rows = [evaluate(scorer, task, features) for task in tasks]
    if current.end is None:
        return rows
    seen = split.future.filter(pl.col("timestamp") <= current.end).height / split.future.height
    if not seen:
        return rows
    structlog.get_logger(__name__).warning(
        "current_bundle_has_seen",
        answers=round(seen, 3),
        until=current.end.isoformat(),
        left_open=["max_loss", "min_gain"],
    )
    name = f"{CURRENT_HAS_SEEN} {math.ceil(100 * seen)} % of the answers"
    return [replace(row, scorer=name) for row in rows]
