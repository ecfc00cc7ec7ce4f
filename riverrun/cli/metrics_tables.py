"""Metrics of scorers side by side, as whatever trains or evaluates prints them."""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from riverrun.cli.console import out

if TYPE_CHECKING:
    from trainer.evaluate import EvaluationRow


def print_tables(rows: "Sequence[EvaluationRow]") -> None:
    """Print a table of each task, in the order in which they come."""
    for task in dict.fromkeys(row.task for row in rows):
        out.print(metrics_table(task, [row for row in rows if row.task == task]))


def metrics_table(task: str, rows: "Sequence[EvaluationRow]") -> Table:
    """Return the metrics of one task: a row for each metric, a column for each scorer."""
    users = rows[0].num_users if rows else 0
    title = f"{task} ({_users(users)})"
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False
    )
    table.add_column("", no_wrap=True)
    # A file's 80 columns hold six scorers where each is as wide as its longest word, and more
    # where words break: at their hyphens, and anywhere if need be.
    broken = "- " if len(rows) > 6 else "-"
    for row in rows:
        asked = "" if row.num_users == users else f" ({_users(row.num_users)})"
        header = row.scorer + asked
        width = max(map(len, header.replace("-", broken).split()))
        table.add_column(fill(header, width), justify="right", overflow="fold")
    for name in rows[0].metrics if rows else ():
        table.add_row(name, *(f"{row.metrics[name]:.4f}" for row in rows))
    return table


def _users(number: int) -> str:
    return f"{number:,} {'user' if number == 1 else 'users'}"
