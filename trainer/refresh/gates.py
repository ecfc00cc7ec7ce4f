"""What a new bundle must reach before it may serve in place of the current one."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from trainer.baselines.buy_again import RETURN_SHARE
from trainer.baselines.newest_first import FRESH_DAYS
from trainer.comparison import CANDIDATE, CURRENT, CURRENT_HAS_SEEN
from trainer.evaluate import EvaluationRow
from trainer.refresh.gate_settings import (
    DEFAULT_MAX_LOSS,
    LEAVE_ONE_OUT,
    OF_FRESH_ITEMS,
    OF_RETURNS,
    GateSettings,
)
from trainer.refresh.notes import BundleChecks


def refusals(
    rows: Sequence[EvaluationRow], checks: BundleChecks, settings: GateSettings
) -> list[str]:
    """Return why the candidate must not serve; empty where it may.

    rows: the candidate, the current bundle where there is one, and baselines, on one slice.
    """
    return [
        *_by_quality(_metrics(rows, settings.min_users), settings),
        *_by_checks(checks, settings),
    ]


def left_open(
    rows: Sequence[EvaluationRow], settings: GateSettings, current: str | None = None
) -> str:
    """Return which gates of quality are not asked, and why; empty where all are.

    rows: as in `refusals`. current: the version that serves, None where none does.
    """
    judged = {row.task: row.num_users for row in rows if row.scorer == CANDIDATE}
    if not judged:
        nobody = "no gate of quality was asked: nobody could be asked about what was held out."
        return nobody if _tasks(settings, settings.max_loss) else ""
    few = [
        f"the gates of {task} were not asked: it has {users} users, and min_users asks for "
        f"{settings.min_users}."
        for task, users in judged.items()
        if task in _tasks(settings, settings.max_loss) and users < settings.min_users
    ]
    return " ".join(
        [
            *_absent(judged, settings),
            *few,
            *_unasked(rows, settings),
            *_uncompared(rows, settings, current),
        ]
    )


def _tasks(settings: GateSettings, max_loss: Mapping[str, float]) -> set[str]:
    """Return the tasks that a gate names, with `max_loss` in place of that of the settings."""
    named = {**max_loss, **settings.min_gain, **settings.min_value}
    return {name.partition("/")[0] for name in named}


def _absent(judged: Collection[str], settings: GateSettings) -> Iterator[str]:
    """Say which tasks that a gate was set for nobody was asked, and why."""
    is_default = settings.max_loss == DEFAULT_MAX_LOSS
    for task in sorted(_tasks(settings, {} if is_default else settings.max_loss) - set(judged)):
        reason = "it has no users."
        if (task == LEAVE_ONE_OUT) != (LEAVE_ONE_OUT in judged):
            holdout = "last_events" if task == LEAVE_ONE_OUT else "newest"
            reason = f'it is of training.holdout = "{holdout}".'
        yield f"the gates of {task} were not asked: {reason}"


def _unasked(rows: Sequence[EvaluationRow], settings: GateSettings) -> Iterator[str]:
    unasked = {*settings.beats} - {row.scorer for row in rows}
    if fresh := unasked.intersection(OF_FRESH_ITEMS):
        yield (
            f"beats did not ask about {' and '.join(sorted(fresh))}: most events are not of the "
            f"{FRESH_DAYS} days after their item's publication."
        )
    if OF_RETURNS in unasked:
        yield (
            f"beats did not ask about {OF_RETURNS}: fewer than {RETURN_SHARE:.0%} of the events "
            "came a day or more after their user's first on the item."
        )


def _uncompared(
    rows: Sequence[EvaluationRow], settings: GateSettings, current: str | None
) -> Iterator[str]:
    if not (settings.max_loss or settings.min_gain):
        return
    scorers = {row.scorer for row in rows}
    seen = next((name for name in scorers if name.startswith(CURRENT_HAS_SEEN)), None)
    if seen is not None:
        yield (
            "max_loss and min_gain were not asked: the new model, which was judged without the "
            f"newest events, cannot be compared with the {seen}."
        )
    elif current is not None and CURRENT not in scorers:
        yield f"max_loss and min_gain were not asked: {current} serves, and cannot make lists now."


def _metrics(rows: Sequence[EvaluationRow], min_users: int) -> Mapping[str, Mapping[str, float]]:
    """Return by scorer what it reached in `task/metric`, on slices that are large enough."""
    by_scorer: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.num_users >= min_users:
            by_scorer.setdefault(row.scorer, {}).update(row.named_metrics)
    return by_scorer


def _by_quality(
    reached: Mapping[str, Mapping[str, float]], settings: GateSettings
) -> Iterator[str]:
    candidate = reached.get(CANDIDATE, {})
    current = reached.get(CURRENT, {})
    bounds = [
        *((name, 1 - loss, "max_loss") for name, loss in settings.max_loss.items()),
        *((name, 1 + gain, "min_gain") for name, gain in settings.min_gain.items()),
    ]
    for name, factor, gate in bounds:
        if name not in candidate or name not in current:
            continue
        least = factor * current[name]
        if candidate[name] < least:
            yield (
                f"{name} is {candidate[name]:.4f}, and {gate} asks for {least:.4f} or more: "
                f"the current bundle has {current[name]:.4f}."
            )
    for name, least in settings.min_value.items():
        if name in candidate and candidate[name] < least:
            yield f"{name} is {candidate[name]:.4f}, and min_value asks for {least:.4f} or more."
    for baseline in settings.beats:
        for name in settings.max_loss:
            better = reached.get(baseline, {}).get(name, 0.0)
            if name in candidate and candidate[name] < better:
                yield f"{name} is {candidate[name]:.4f}, and {baseline} reaches {better:.4f}."


def _by_checks(checks: BundleChecks, settings: GateSettings) -> Iterator[str]:
    if checks.index_recall < settings.min_index_recall:
        yield (
            f"the index finds {checks.index_recall:.3f} of the true best, and min_index_recall "
            f"asks for {settings.min_index_recall:.3f}."
        )
    if settings.max_latency_ms and checks.latency_ms > settings.max_latency_ms:
        yield (
            f"a query takes {checks.latency_ms:.1f} ms, and max_latency_ms allows "
            f"{settings.max_latency_ms:.1f}."
        )
