"""Plots how good a replay's lists are over time."""

from collections.abc import Sequence
from pathlib import Path

from riverrun.replay.scoring import METRICS, Row

_NAMES_ABREAST = 2


def plot_over_time(rows: Sequence[Row], slice_: str, span: str, file: Path) -> None:
    """Write NDCG and recall of `slice_` by `span` of time ("day", "week"), a line per variant."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 7.5), layout="constrained")
    panels = figure.subplots(len(METRICS), sharex=True)
    own = [row for row in rows if row.slice == slice_]
    for axes, (metric, length) in zip(panels, METRICS.items(), strict=True):
        for variant in dict.fromkeys(row.variant for row in own):
            points = [
                (row.span + 1, getattr(row, metric))
                for row in own
                if row.variant == variant and row.span is not None
            ]
            axes.plot(*zip(*points, strict=True), marker="o", label=variant)
        axes.set_ylabel(f"{metric}@{length}, {slice_}")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=_NAMES_ABREAST
    )
    panels[-1].set_xlabel(f"{span} of the period")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(file, dpi=150)
