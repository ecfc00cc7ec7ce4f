"""`riverrun bench quality`: recommenders beside each other on a public data set."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from riverrun.bench.machine import describe_machine
from riverrun.cli.bench_figures import say
from riverrun.cli.console import err, out
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.cli.preset_data import NO_RECENT_POPULARITY, check_output
from riverrun.cli.slices_table import short, slices_table
from riverrun.errors import UserError
from riverrun.settings import load_settings

if TYPE_CHECKING:
    from riverrun.bench.method_results import MethodResult

PRESETS = {
    "online-retail": "online-retail",
    "beauty": "sequences",
    "sequences": "sequences",
    "movielens": "movielens",
}
"""The data sets, by the preset that reads and splits them."""


class Part(StrEnum):
    """Which part of the future is asked about."""

    VALIDATION = "validation"
    TEST = "test"


def quality(
    data: Annotated[Path, typer.Option(help="The data set's file or folder.", metavar="PATH")],
    dataset: Annotated[
        str, typer.Option(help=f"One of {', '.join(PRESETS)}.", metavar="NAME")
    ] = "online-retail",
    split: Annotated[
        Part,
        typer.Option(help="Settings may be chosen on validation; test only reports."),
    ] = Part.VALIDATION,
    slices: Annotated[
        bool,
        typer.Option("--slices", help="Also by how much is known of the user and of the item."),
    ] = False,
    baselines_only: Annotated[
        bool,
        typer.Option("--baselines-only", help="Without Riverrun's own, which take minutes to fit."),
    ] = False,
    ablation: Annotated[
        bool,
        typer.Option("--ablation", help="Also Riverrun's list without each of its parts in turn."),
    ] = False,
    json: Annotated[
        Path | None, typer.Option(help="Write the figures to this file too.", metavar="FILE")
    ] = None,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """How good the lists of each recommender are, how sure that is, and what they cost.

    By the published protocol of each data set, with the settings chosen for it and the defaults of
    all others, whatever this shop's are: all items are ranked, ties stand at their mean rank.
    Below NDCG and recall stands their 95 % interval, by bootstrap over users; beside them the
    coverage of the catalogue, the Gini index of how often items are shown, the diversity and the
    number of categories within lists of 10, and what fitting and a list take. Riverrun's own are
    fitted together, once: each candidate source alone, what strangers get among them, the
    two-tower, all of them without and with the ranker, and the last at a diversity of .3.

        riverrun bench quality --dataset beauty --data Beauty.txt.gz
    """
    if dataset not in PRESETS:
        raise UserError(f"--dataset {dataset!r} is unknown. Known: {', '.join(PRESETS)}.")
    check_output("--json", json)
    if ablation and baselines_only:
        raise UserError("--ablation is of Riverrun's own list: leave out --baselines-only.")
    if find_spec("implicit") is None:
        raise UserError("one baseline is the package `implicit`: `make install` installs it.")
    from riverrun.importing import load_preset
    from riverrun.protocols import PROTOCOLS

    settings = load_settings(settings_file, home=home)
    protocol = PROTOCOLS[PRESETS[dataset]]
    loaded = load_preset(PRESETS[dataset], data)
    from riverrun.bench.quality import Own, measure_quality
    from riverrun.cli.training_progress import refresh_progress
    from riverrun.evaluating import preset_question

    question = preset_question(protocol, loaded, settings, validation=split is Part.VALIDATION)
    measured = measure_quality(
        # Figures beside each other are of one precision, whatever this shop's is.
        replace(question, training=protocol.settings),
        protocol.baselines,
        None if baselines_only else Own(ablation, refresh_progress),
        settings,
        with_slices=slices,
        report=_say_fitted,
        stage=say,
    )
    for task in dict.fromkeys(result.row.task for result in measured.results):
        of_task = [result for result in measured.results if result.row.task == task]
        out.print(quality_table(task, of_task))
        if of_task[0].slices:
            out.print(slices_table(task, [result.slices for result in of_task]))
    past = question.split.past
    out.print(
        f"{dataset}, {split}: {len(past.items):,} items, {len(past.user_ids):,} users, "
        f"{len(past.item):,} events in the past; {measured.told_apart}"
    )
    if not protocol.has_times:
        out.print(NO_RECENT_POPULARITY)
    out.print(describe_machine())
    if json is not None:
        document = {
            "dataset": dataset,
            "split": split.value,
            "machine": describe_machine(),
            "items_told_apart": measured.told_apart,
            "results": [_document(result) for result in measured.results],
        }
        json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def quality_table(task: str, results: "Sequence[MethodResult]") -> Table:
    """Return one task's table: a row for each method, intervals below the means.

    Beside them coverage, Gini index, diversity and categories within lists of 10, and ms per list.
    """
    from riverrun.bench.method_results import HIT_RATE, NDCG, RECALL

    users = results[0].row.num_users if results else 0
    table = Table(
        title=f"{task} ({users:,} users)", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("", overflow="fold")
    # For one relevant item papers quote the hit rate within 10, for many the recall within 20.
    second = HIT_RATE if task == "leave-one-out" else RECALL
    for name in (NDCG, second, "cover", "Gini", "div.", "cat.", "fit s", "ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        figures = result.row.metrics
        table.add_row(
            escape(result.row.scorer),
            *(
                f"{short(figures[name])}\n[dim]{short(low, 3)}–{short(high, 3)}[/]"
                for name in (NDCG, second)
                for low, high in (result.intervals[name],)
            ),
            *(short(figures.get(f"{name}@10"), 3) for name in ("coverage", "gini", "diversity")),
            _number(figures.get("categories@10")),
            f"{result.fit_seconds:.0f}",
            f"{result.ms_per_list:.1f}",
        )
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _document(result: "MethodResult") -> dict[str, Any]:
    row = result.row
    return {
        "task": row.task,
        "method": row.scorer,
        "users": row.num_users,
        **row.metrics,
        **{f"{name} 95%": list(interval) for name, interval in result.intervals.items()},
        "fit_seconds": result.fit_seconds,
        "ms_per_list": result.ms_per_list,
        "slices": {part.task: {"users": part.num_users, **part.metrics} for part in result.slices},
    }


def _say_fitted(method: str, seconds: float) -> None:
    err.print(f"{escape(method)}: fitted in {seconds:.1f} s")
