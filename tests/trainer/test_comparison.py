"""A bundle that has learned from the answers does not win by knowing them."""

from datetime import timedelta

import numpy as np
from structlog.testing import capture_logs

from tests.support.few_events import ITEMS, START, frame
from trainer.baselines import EmbeddingScorer
from trainer.bundle_checks import BundleChecks
from trainer.comparison import Current, compared
from trainer.evaluate import EvaluationRow, evaluate
from trainer.gate_settings import GateSettings
from trainer.gates import CANDIDATE, CANDIDATE_ON_UNSEEN, CURRENT, refusals
from trainer.tasks import temporal_split

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
    """Compare with a bundle that knows by heart what everybody did at hour 11."""
    by_heart = scorer(CURRENT, [1 + user for user in range(USERS)])
    end = None if hour is None else START + timedelta(hours=hour)
    candidate = scorer(CANDIDATE, [0] * USERS)
    rows = compared(Current(lambda split: by_heart, end), candidate, SPLIT, SPLIT.tasks, None)
    return [*rows, *(evaluate(candidate, task) for task in SPLIT.tasks)]


def refused(rows: list[EvaluationRow], min_users: int) -> list[str]:
    gates = GateSettings(min_users=min_users, max_loss={"all/ndcg@10": 0.1})
    return refusals(rows, BundleChecks(index_recall=1.0, latency_ms=1.0), gates)


def test_one_that_has_seen_nothing_is_asked_everything() -> None:
    for hour in (None, CUT, 10.5):
        with capture_logs() as logs:
            rows = asked_at(hour)
        assert {row.scorer for row in rows} == {CANDIDATE, CURRENT}
        assert {row.num_users for row in rows if row.task == "all"} == {USERS}
        assert not logs
        assert refused(rows, 3)


def test_one_that_has_seen_some_is_asked_the_rest() -> None:
    with capture_logs() as logs:
        rows = asked_at(11)
    (log,) = logs
    assert (log["event"], log["users_left"]) == ("current_bundle_has_seen", 3)
    assert log["answers"] == round(6 / 9, 3)
    of_all = {row.scorer: row for row in rows if row.task == "all"}
    assert of_all[CANDIDATE].num_users == USERS
    assert of_all["current bundle, which has seen 67 % of the answers"].num_users == USERS
    # Of item 7, which both put last but for what is known by heart, both know as much.
    fresh, current = of_all[CANDIDATE_ON_UNSEEN], of_all[CURRENT]
    assert fresh.num_users == current.num_users == 3
    assert not refused(rows, 3)


def test_where_it_has_seen_everything_nothing_is_compared() -> None:
    rows = asked_at(14)
    assert not {CURRENT, CANDIDATE_ON_UNSEEN} & {row.scorer for row in rows}
    assert not refused(rows, 0)


def test_too_few_who_acted_since_decide_nothing() -> None:
    worse = [
        EvaluationRow(row.scorer, row.task, row.num_users, {**row.metrics, "ndcg@10": 0.0})
        if row.scorer == CANDIDATE_ON_UNSEEN
        else row
        for row in asked_at(11)
    ]
    assert refused(worse, 3)
    assert not refused(worse, 4)
