"""When a new bundle is refused."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from pydantic import ValidationError

from tests.support.few_events import ITEMS, START, frame
from trainer.baselines import Popularity, baselines
from trainer.comparison import CANDIDATE, CURRENT
from trainer.evaluate import EvaluationRow, evaluate
from trainer.refresh.gate_settings import (
    BASELINES,
    METRICS,
    OF_FRESH_ITEMS,
    OF_RETURNS,
    TASKS,
    GateSettings,
)
from trainer.refresh.gates import left_open, refusals
from trainer.refresh.notes import BundleChecks
from trainer.tasks import leave_one_out_split, temporal_split

GOOD = BundleChecks(index_recall=1.0, latency_ms=2.0)
OPEN = GateSettings(max_loss={}, min_index_recall=0.0)


def row(scorer: str, ndcg: float, users: int = 500, task: str = "all") -> EvaluationRow:
    return EvaluationRow(scorer, task, users, {"ndcg@10": ndcg})


@pytest.mark.parametrize(
    ("candidate", "current", "settings", "named"),
    [
        (0.20, 0.20, GateSettings(), None),
        (0.19, 0.20, GateSettings(), None),
        (0.17, 0.20, GateSettings(), "max_loss"),
        (0.20, 0.20, GateSettings(min_gain={"all/ndcg@10": 0.05}), "min_gain"),
        (0.22, 0.20, GateSettings(min_gain={"all/ndcg@10": 0.05}), None),
        (0.20, 0.10, GateSettings(min_value={"all/ndcg@10": 0.3}), "min_value"),
        (0.20, 0.10, GateSettings(beats=("popularity",)), "popularity"),
        # What is reached exactly is reached.
        (0.1875, 0.25, GateSettings(max_loss={"all/ndcg@10": 0.25}), None),
        (0.375, 0.25, GateSettings(min_gain={"all/ndcg@10": 0.5}), None),
        (0.25, 0.10, GateSettings(beats=("popularity",)), None),
    ],
)
def test_a_candidate_is_held_against_the_current_bundle(
    candidate: float, current: float, settings: GateSettings, named: str | None
) -> None:
    rows = [row(CANDIDATE, candidate), row(CURRENT, current), row("popularity", 0.25)]
    reasons = refusals(rows, GOOD, settings)
    assert len(reasons) == (named is not None)
    assert named is None or named in reasons[0]
    # Numbers to act on, not a verdict.
    assert named is None or f"{candidate:.4f}" in reasons[0]


def test_a_list_that_shows_too_few_of_the_items_is_refused() -> None:
    events = frame([(user, user % 2, hour) for user in range(5) for hour in range(20)])
    split = temporal_split(events, ITEMS, START + timedelta(hours=10))
    task = split.tasks[1]
    shown = evaluate(Popularity(split.past), task)
    reached = shown.metrics["coverage@10"]
    rows = [replace(shown, scorer=CANDIDATE)]

    def reasons(**settings: object) -> list[str]:
        return refusals(rows, GOOD, GateSettings.model_validate({"min_users": 0} | settings))

    assert not reasons(min_value={"all/coverage@10": reached})
    assert reasons(min_value={"all/coverage@10": reached + 0.01}) == [
        f"all/coverage@10 is {reached:.4f}, and min_value asks for {reached + 0.01:.4f} or more."
    ]
    # Switched off, or of another task.
    assert not reasons(min_value={})
    assert not reasons(min_value={"leave-one-out/coverage@10": 1.0})
    # And it may lose as little of it as of any other metric, where that is asked.
    rows.append(EvaluationRow(CURRENT, "all", 500, {"coverage@10": 2 * reached}))
    (reason,) = reasons(max_loss={"all/coverage@10": 0.4})
    assert f"all/coverage@10 is {reached:.4f}, and max_loss asks for" in reason
    assert not reasons(max_loss={"all/coverage@10": 0.6})


def test_without_a_current_bundle_nothing_can_be_lost() -> None:
    assert not refusals([row(CANDIDATE, 0.01)], GOOD, GateSettings())


def test_a_slice_with_few_users_decides_nothing() -> None:
    rows = [row(CANDIDATE, 0.0, users=3), row(CURRENT, 0.5, users=3)]
    assert not refusals(rows, GOOD, GateSettings(min_users=4))
    assert refusals(rows, GOOD, GateSettings(min_users=3))


def test_gates_that_too_few_users_leave_open_are_named() -> None:
    few = [row(CANDIDATE, 0.0, users=3, task=task) for task in ("novel", "all")]
    rows = [*few, row(CURRENT, 0.5, users=3)]
    assert not left_open(rows, GateSettings(min_users=3), "the old one")
    said = "the gates of all were not asked: it has 3 users, and min_users asks for 4."
    # No gate is of the task `novel`.
    assert left_open(rows, GateSettings(min_users=4), "the old one") == said
    assert left_open(few, GateSettings(min_users=4)) == said
    assert not left_open(rows, GateSettings(min_users=4, max_loss={}), "the old one")
    assert left_open([], GateSettings()).startswith("no gate of quality was asked")
    assert not left_open([], GateSettings(max_loss={}))


def test_gates_of_a_task_that_nobody_was_asked_are_named() -> None:
    novel = {"novel/ndcg@10": 0.1}
    rows = [row(CANDIDATE, 0.2), row(CURRENT, 0.2)]
    for kind in ("max_loss", "min_gain", "min_value"):
        gates = GateSettings.model_validate({kind: novel})
        assert left_open(rows, gates, "v") == "the gates of novel were not asked: it has no users."
        asked = [*rows, row(CANDIDATE, 0.2, task="novel"), row(CURRENT, 0.2, task="novel")]
        assert not left_open(asked, gates, "v")
    # What is asked depends on what is held out.
    last = [row(CANDIDATE, 0.2, task="leave-one-out"), row(CURRENT, 0.2, task="leave-one-out")]
    of_time = GateSettings(max_loss={"all/ndcg@10": 0.1}, min_value=novel)
    assert left_open(last, of_time, "v") == (
        'the gates of all were not asked: it is of training.holdout = "newest". '
        'the gates of novel were not asked: it is of training.holdout = "newest".'
    )
    of_last = GateSettings(min_value={"leave-one-out/mrr": 0.1})
    assert 'it is of training.holdout = "last_events".' in left_open(rows, of_last, "v")
    # The default gates are for both.
    for each in (rows, last):
        assert not left_open(each, GateSettings(), "v")


def test_a_current_bundle_that_cannot_be_asked_is_named() -> None:
    rows = [row(CANDIDATE, 0.2), row("popularity", 0.25)]
    assert not left_open(rows, GateSettings())
    assert left_open(rows, GateSettings(), "the old one") == (
        "max_loss and min_gain were not asked: the old one serves, and cannot make lists now."
    )
    # A gate that nobody has set is not open.
    assert not left_open(rows, GateSettings(max_loss={}), "the old one")
    assert left_open(rows, GateSettings(max_loss={}, min_gain={"all/mrr": 0.1}), "the old one")
    unlike = [row(CANDIDATE, 0.2, users=3)]
    assert left_open(unlike, GateSettings(), "the old one").count("not asked") == 2


def test_a_gate_asks_about_fresh_items_where_they_are_read_and_says_where_they_are_not() -> None:
    gates = GateSettings(beats=("newest first", "popularity, last day", "popularity"))
    rows = [row(CANDIDATE, 0.2), row("popularity", 0.1)]
    assert not refusals(rows, GOOD, gates)
    assert left_open(rows, gates) == (
        "beats did not ask about newest first and popularity, last day: most events are not of the "
        "3 days after their item's publication."
    )
    of_news = [*rows, row("newest first", 0.3), row("popularity, last day", 0.1)]
    assert refusals(of_news, GOOD, gates) == [
        "all/ndcg@10 is 0.2000, and newest first reaches 0.3000."
    ]
    assert not left_open(of_news, gates)
    # Nobody asked for it.
    assert not left_open(rows, GateSettings(beats=("popularity",)))
    assert left_open(rows, GateSettings(beats=(OF_RETURNS,))) == (
        "beats did not ask about own items, then popular: fewer than 5% of the events came a day "
        "or more after their user's first on the item."
    )


def test_what_the_current_bundle_has_seen_compares_nothing() -> None:
    """Only baselines and bounds are held against the slice then."""
    seen = row("current bundle, which has seen 67 % of the answers", 0.9)
    rows = [row(CANDIDATE, 0.2), row("popularity", 0.25), seen]
    assert not refusals(rows, GOOD, GateSettings(min_gain={"all/ndcg@10": 0.1}))
    assert "seen 67 % of the answers" in left_open(rows, GateSettings(), "the old one")
    assert not left_open([*rows[:2], row(CURRENT, 0.9)], GateSettings(), "the old one")
    bounded = GateSettings(min_value={"all/ndcg@10": 0.3}, beats=("popularity",))
    assert len(refusals(rows, GOOD, bounded)) == 2


@pytest.mark.parametrize(
    ("checks", "settings", "named"),
    [
        (BundleChecks(0.8, 1.0), GateSettings(), "min_index_recall"),
        (BundleChecks(1.0, 9.0), GateSettings(max_latency_ms=5.0), "max_latency_ms"),
        (BundleChecks(1.0, 9.0), GateSettings(), None),
        (BundleChecks(0.8, 5.0), GateSettings(min_index_recall=0.8, max_latency_ms=5.0), None),
        (BundleChecks(0.0, 9.0), OPEN, None),
    ],
)
def test_what_only_the_bundle_shows_counts_too(
    checks: BundleChecks, settings: GateSettings, named: str | None
) -> None:
    reasons = refusals([], checks, settings)
    assert [named in reason for reason in reasons if named] == [True] * (named is not None)


def test_gates_may_name_all_that_a_refresh_measures_and_nothing_else() -> None:
    events = frame([(user, user % 2, hour) for user in range(5) for hour in range(20)])
    split = temporal_split(events, ITEMS, START + timedelta(hours=10))
    scorers = baselines(split.past)
    lasting = tuple(name for name in BASELINES if name not in {*OF_FRESH_ITEMS, OF_RETURNS})
    assert tuple(scorer.name for scorer in scorers) == lasting
    fresh = [item.model_copy(update={"published_at": START}) for item in ITEMS]
    of_news = temporal_split(events, fresh, START + timedelta(hours=10))
    of_groceries = temporal_split(
        frame([(0, 0, hour) for hour in range(50)]), ITEMS, START + timedelta(hours=40)
    )
    named = {each.name for split in (of_news, of_groceries) for each in baselines(split.past)}
    assert named == {*BASELINES}
    features = np.eye(len(split.past.items), dtype=np.float32)
    measured = evaluate(scorers[0], split.tasks[1], features).metrics
    # Of which less is better.
    assert tuple(name for name in measured if name != "gini@10") == METRICS
    last = leave_one_out_split(events, ITEMS, held_out=1)
    assert {task.name for each in (split, last) for task in each.tasks} == set(TASKS)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_loss": {"all/ndgc@10": 0.1}}, "all/ndgc@10"),
        ({"max_loss": {"all/gini@10": 0.1}}, "all/gini@10"),
        ({"min_gain": {"ndcg@10": 0.1}}, "ndcg@10"),
        ({"min_value": {"old/ndcg@10": 0.1}}, "old/ndcg@10"),
        ({"beats": ["popularty"]}, "popularty"),
    ],
)
def test_a_gate_that_names_what_is_not_measured_is_refused(
    settings: dict[str, object], named: str
) -> None:
    with pytest.raises(ValidationError, match=f"Received: '{named}'"):
        GateSettings.model_validate(settings)


def test_a_baseline_to_beat_in_no_metric_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"max_loss.*names none. Received: \['popularity'\]"):
        GateSettings(max_loss={}, beats=("popularity",))
