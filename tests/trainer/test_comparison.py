"""A bundle that has learned from the answers does not win by knowing them."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.support.few_events import ITEMS, START, frame
from trainer.baselines import EmbeddingScorer
from trainer.comparison import CANDIDATE, CURRENT, Current, compared
from trainer.evaluate import EvaluationRow, evaluate
from trainer.refresh.gate_settings import GateSettings
from trainer.refresh.gates import left_open, refusals
from trainer.refresh.notes import BundleChecks
from trainer.tasks import leave_one_out_split, temporal_split

USERS, CUT = 6, 10
# Everybody acts on item 0 before the cut, on a second one at hour 11; half of them on item 7 later.
EVENTS = [
    *((user, 0, 1) for user in range(USERS)),
    *((user, 1 + user, 11) for user in range(USERS)),
    *((user, 7, 14) for user in range(0, USERS, 2)),
    (0, 1, 2), (0, 2, 2), (0, 3, 2), (0, 4, 2), (0, 5, 2), (0, 6, 2), (0, 7, 2),
]  # fmt: skip
SPLIT = temporal_split(frame(EVENTS), ITEMS, START + timedelta(hours=CUT))


def scorer(name: str, best: list[int]) -> EmbeddingScorer:
    """Every user of the split has one best item, and likes the first of the others better."""
    order = np.array([-float(item) for item in range(len(ITEMS))], np.float32)
    queries = np.tile(order, (USERS, 1))
    queries[np.arange(USERS), best] = 100.0
    return EmbeddingScorer(name, queries, np.eye(len(ITEMS), dtype=np.float32))


def asked_at(hour: float | None) -> list[EvaluationRow]:
    """Compare with a bundle that learned until the hour, and answers all of hour 11 best."""
    good = scorer(CURRENT, [1 + user for user in range(USERS)])
    end = None if hour is None else START + timedelta(hours=hour)
    candidate = scorer(CANDIDATE, [0] * USERS)
    rows = compared(Current(lambda split: good, end), SPLIT, SPLIT.tasks, None)
    return [*rows, *(evaluate(candidate, task) for task in SPLIT.tasks)]


def refused(rows: list[EvaluationRow], **gates: Any) -> list[str]:
    settings = GateSettings(min_users=0, max_loss={"all/ndcg@10": 0.1}, **gates)
    return refusals(rows, BundleChecks(index_recall=1.0, latency_ms=1.0), settings)


def test_one_that_has_seen_nothing_is_compared_with() -> None:
    for hour in (None, 2, CUT, 10.5):
        with capture_logs() as logs:
            rows = asked_at(hour)
        assert {row.scorer for row in rows} == {CANDIDATE, CURRENT}
        assert {row.num_users for row in rows if row.task == "all"} == {USERS}
        assert not logs
        assert refused(rows)
        assert not left_open(rows, GateSettings(min_users=0), "the old one")


@pytest.mark.parametrize(("hour", "share"), [(11, 67), (13, 67), (14, 100)])
def test_one_that_has_seen_some_is_compared_with_nothing(hour: int, share: int) -> None:
    """Of the rest too it knows more than what learned from nothing later than the cut."""
    with capture_logs() as logs:
        rows = asked_at(hour)
    (log,) = logs
    assert log["event"] == "current_bundle_has_seen"
    assert log["answers"] == pytest.approx(share / 100, abs=0.005)
    assert log["left_open"] == ["max_loss", "min_gain"]
    seen = f"current bundle, which has seen {share} % of the answers"
    assert {row.scorer for row in rows} == {CANDIDATE, seen}
    why = left_open(rows, GateSettings(min_users=0), "the old one")
    assert why.endswith(f"cannot be compared with the {seen}.")
    assert not refused(rows, min_gain={"all/ndcg@10": 0.1})
    # The other gates hold.
    assert refused(rows, min_value={"all/ndcg@10": 1.0})


def test_where_times_mean_nothing_no_answer_may_have_been_seen_either() -> None:
    split = leave_one_out_split(frame(EVENTS), ITEMS)
    good = scorer(CURRENT, [0] * USERS)

    def names(hour: float) -> set[str]:
        current = Current(lambda split: good, START + timedelta(hours=hour))
        return {row.scorer for row in compared(current, split, split.tasks, None)}

    # The newest event of the past is of hour 11, and the first of the last ones too.
    assert names(10.5) == {CURRENT}
    assert names(11) == {"current bundle, which has seen 50 % of the answers"}
