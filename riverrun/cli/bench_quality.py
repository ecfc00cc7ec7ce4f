"""`riverrun bench quality`: recommenders beside each other on a public data set."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
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
from riverrun.cli.console import err, out
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.cli.preset_data import NO_RECENT_POPULARITY, check_output
from riverrun.cli.slices_table import short, slices_table
from riverrun.errors import UserError
from riverrun.settings import Settings, load_settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from scipy import sparse

    from feature_repo.schema import Item
    from riverrun.bench.quality import MethodResult
    from riverrun.protocols import EvaluationProtocol
    from trainer.baselines import Scorer
    from trainer.settings import TrainingSettings
    from trainer.tasks import EvaluationTask, Split

PRESETS = {
    "online-retail": "online-retail",
    "beauty": "sequences",
    "sequences": "sequences",
    "movielens": "movielens",
}
"""The data sets, by the preset that reads and splits them."""

SEED = 7


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
    held_out = protocol.held_out(validation=split is Part.VALIDATION)
    question, ask_everyone = held_out.split(loaded), held_out.everyone
    asking = _Asking(protocol, settings, own=not baselines_only)
    results, what = asking.ask(
        question, with_slices=slices and ask_everyone is None, with_ablation=ablation
    )
    if slices and ask_everyone is not None:
        results += asking.ask(ask_everyone(loaded), with_slices=True)[0]
    for task in dict.fromkeys(result.row.task for result in results):
        of_task = [result for result in results if result.row.task == task]
        out.print(quality_table(task, of_task))
        if of_task[0].slices:
            out.print(slices_table(task, [result.slices for result in of_task]))
    past = question.past
    out.print(
        f"{dataset}, {split}: {len(past.items):,} items, {len(past.user_ids):,} users, "
        f"{len(past.item):,} events in the past; {what}"
    )
    if not protocol.has_times:
        out.print(NO_RECENT_POPULARITY)
    out.print(describe_machine())
    if json is not None:
        document = {
            "dataset": dataset,
            "split": split.value,
            "machine": describe_machine(),
            "items_told_apart": what,
            "results": [_document(result) for result in results],
        }
        json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


@dataclass(frozen=True)
class _Asking:
    """Fits methods and asks them. own: whether to ask Riverrun's too, beside the simple ones."""

    protocol: "EvaluationProtocol"
    settings: Settings
    own: bool

    def ask(
        self, split: "Split", *, with_slices: bool, with_ablation: bool = False
    ) -> "tuple[list[MethodResult], str]":
        """Return the results for all tasks of the split, and what diversity is measured by."""
        from riverrun.bench.quality import compare, item_labels

        features, by = _features(split.past.items, self.protocol.settings, self.settings)
        labels, kind = item_labels(split.past.items, features, SEED)
        results = compare(
            split,
            self.protocol.baselines,
            features,
            SEED,
            labels=labels,
            with_slices=with_slices,
            report=_say,
        )
        if self.own:
            results += self._own(
                split, features, labels, with_slices=with_slices, with_ablation=with_ablation
            )
        return results, f"diversity by {by}, categories are {kind}"

    def _own(
        self,
        split: "Split",
        features: "npt.NDArray[np.float32] | None",
        labels: "sparse.csr_array",
        *,
        with_slices: bool,
        with_ablation: bool,
    ) -> "list[MethodResult]":
        """Fit Riverrun's pipeline once, and ask its parts and the whole."""
        from riverrun.bench.quality import ask
        from riverrun.cli.training_progress import refresh_progress
        from serving.text_embedding_cache import TextEmbeddingCache
        from trainer.fitted_pipeline import fit_pipeline
        from trainer.training_input_error import TrainingInputError

        training, service = self.protocol.settings, self.protocol.service
        with (
            closing(TextEmbeddingCache(self.settings.text_embeddings)) as cache,
            refresh_progress() as listener,
        ):
            try:
                fitted = fit_pipeline(split, training, service, cache, listener)
            except TrainingInputError as error:
                raise UserError(str(error)) from error
        _say(f"Riverrun, {fitted.judgement.epochs} epochs", fitted.seconds)

        def asked(scorer: "Scorer", tasks: "Sequence[EvaluationTask]") -> "list[MethodResult]":
            return list(
                ask(
                    scorer,
                    split,
                    tasks,
                    features,
                    SEED,
                    fitted.seconds,
                    labels=labels,
                    with_slices=with_slices,
                )
            )

        results: list[MethodResult] = []
        for scorer in (*fitted.parts, fitted.two_tower, fitted.pipeline, fitted.diverse):
            results += asked(scorer, split.tasks)
        for scorer in fitted.ablations() if with_ablation else ():
            results += asked(scorer, split.tasks)
        return results


def quality_table(task: str, results: "Sequence[MethodResult]") -> Table:
    """Return one task's table: a row for each method, intervals below the means.

    Beside them coverage, Gini index, diversity and categories within lists of 10, and ms per list.
    """
    from riverrun.bench.quality import HIT_RATE, NDCG, RECALL

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


def _say(method: str, seconds: float) -> None:
    err.print(f"{escape(method)}: fitted in {seconds:.1f} s")


def _features(
    items: "Sequence[Item]", training: "TrainingSettings", settings: Settings
) -> "tuple[npt.NDArray[np.float32] | None, str]":
    """Return what diversity is measured by, [num_items, n], and its name: texts, else tags."""
    from riverrun.bench.quality import tag_features

    frozen = not training.text.lora_rank
    if frozen and any(item.text for item in items):
        from serving.text_embedding_cache import TextEmbeddingCache
        from trainer.text_embeddings import catalogue_text_embeddings
        from trainer.text_tower import load_text_tower

        err.print("embedding texts ...")
        tower = load_text_tower(training.text)
        with closing(TextEmbeddingCache(settings.text_embeddings)) as cache:
            texts = [item.text for item in items]
            return catalogue_text_embeddings(tower, texts, training.text, cache), "text embeddings"
    if any(item.tags for item in items):
        return tag_features(items), "tags"
    if frozen:
        return None, "nothing: the items have neither text nor tags"
    return None, "nothing: the items have no tags, and each training reads texts in its own way"
