"""The bundle that serves, asked beside the new model: only where it knows no more than that."""

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
"""How the name begins of a current bundle that is compared with nothing: it knows some answers."""

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
    split: Split,
    tasks: Sequence[EvaluationTask],
    features: npt.NDArray[np.float32] | None,
) -> list[EvaluationRow]:
    """Return the rows of the current bundle, named `CURRENT` where a candidate compares with it.

    The candidate that is judged has learned from the split's past alone. A bundle that has learned
    from some of its future knows more, also of what nobody has done before its own end: what is
    liked of late, and what these users did last. Its rows have a name then that no gate reads, and
    says how much it has seen.

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
