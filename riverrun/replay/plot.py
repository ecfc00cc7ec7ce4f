"""NDCG over time as a picture."""

from collections.abc import Sequence
from pathlib import Path

from riverrun.replay.scoring import NDCG_AT, Row


def plot_over_time(rows: Sequence[Row], slice_: str, span: str, file: Path) -> None:
    """Write a line per variant: the NDCG of `slice_` by `span` of time ("day", "week")."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    own = [row for row in rows if row.slice == slice_]
    for variant in dict.fromkeys(row.variant for row in own):
        points = [(row.span, row.ndcg) for row in own if row.variant == variant]
        axes.plot(*zip(*points, strict=True), marker="o", label=variant)
    axes.set_xlabel(f"{span} of the period")
    axes.set_ylabel(f"NDCG@{NDCG_AT}, {slice_}")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)
