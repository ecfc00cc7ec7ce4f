"""What a replay prints."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from riverrun.replay.questions import Period
    from riverrun.replay.scoring import Row, Scores


def slice_table(slice_: str, rows: "Sequence[Row]") -> Table:
    """Return a row for each variant, with what it adds to the first."""
    from riverrun.replay.scoring import NDCG_AT, RECALL_AT

    noun = "question" if rows[0].questions == 1 else "questions"
    title = f"{slice_} ({rows[0].questions:,} {noun})"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for name in (f"ndcg@{NDCG_AT}", f"recall@{RECALL_AT}", "ndcg to frozen"):
        table.add_column(name, justify="right")
    base = rows[0].ndcg
    for row in rows:
        change = f"{row.ndcg / base - 1:+.1%}" if base > 0 else "-"
        table.add_row(row.variant, f"{row.ndcg:.4f}", f"{row.recall:.4f}", change)
    return table


def refreshes_table(
    refreshes: Mapping[str, Sequence[float]], scores: "Scores", every: str
) -> Table:
    """Return how often the models were renewed, how long it took and what it brought.

    refreshes: as in `ReplayResult`. The metrics are those of the refreshed model alone, as above.
    """
    from riverrun.replay.refreshed import REFRESHED
    from riverrun.replay.scoring import ALL, NDCG_AT, NOVEL

    title = f"refreshed {every}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    slices = (NOVEL, ALL)
    names = [f"{slice_} ndcg@{NDCG_AT}" for slice_ in slices]
    for name in ("start", "refreshes", "minutes each", "minutes in all", *names):
        table.add_column(name, justify="left" if name == "start" else "right")
    reached = {(row.variant, row.slice): f"{row.ndcg:.4f}" for row in scores.rows()}
    for start, seconds in refreshes.items():
        minutes = sum(seconds) / 60
        mean = minutes / max(len(seconds), 1)
        ndcgs = [reached.get((f"{REFRESHED}, {start}", slice_), "-") for slice_ in slices]
        table.add_row(start, str(len(seconds)), f"{mean:.1f}", f"{minutes:.1f}", *ndcgs)
    return table


def table_over_time(span: str, rows: "Sequence[Row]", metric: str) -> Table:
    """Return a row for each span of time, a column for each variant.

    metric: "ndcg" or "recall".
    """
    from riverrun.replay.scoring import METRICS

    variants = list(dict.fromkeys(row.variant for row in rows))
    title = f"{rows[0].slice}, {metric}@{METRICS[metric]} by {span}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in (span, "questions", *variants):
        table.add_column(name, justify="right")
    values = {(row.span, row.variant): row for row in rows}
    for place in sorted({row.span for row in rows if row.span is not None}):
        of_span = [values[place, variant] for variant in variants]
        reached = (f"{getattr(row, metric):.4f}" for row in of_span)
        table.add_row(str(place + 1), f"{of_span[0].questions:,}", *reached)
    return table


def asked_of(period: "Period") -> str:
    """Say how many of the questions were put, and before how many of the events."""
    every = period.questions
    if period.asked is None:
        return f"all {every.height:,} questions asked"
    return (
        f"{period.asked.height:,} of {every.height:,} questions asked, drawn at random, before "
        f"{period.asked['len'].sum():,} of the events"
    )
