"""How good lists are by how much is known of users and items, as a table."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from trainer.evaluate import EvaluationRow


def slices_table(task: str, methods: "Sequence[Sequence[EvaluationRow]]") -> Table:
    """Return NDCG by slice: a row for each method, a column for each slice.

    methods: for each method its rows of all slices, in the same order for all.
    """
    from riverrun.bench.method_results import NDCG

    title = f"{task}, {NDCG} by number of events"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold")
    slices = methods[0] if methods else ()
    for part in slices:
        # "users with 2-5 events": the title says that events are counted.
        header = part.task.replace(" with ", "\n").partition(" event")[0]
        table.add_column(header, justify="right", no_wrap=True)
    table.add_row("users asked", *(f"{part.num_users:,}" for part in slices))
    for rows in methods:
        table.add_row(escape(rows[0].scorer), *(short(row.metrics[NDCG]) for row in rows))
    return table


def short(value: float | None, digits: int = 4) -> str:
    """Return a figure of 0..1 without its leading zero; a dash for None or NaN."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}f}".removeprefix("0")
