"""How good the lists of recommenders are on a public data set, Riverrun's own among them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from riverrun.bench.item_features import item_features, item_labels
from riverrun.bench.method_results import (
    SEED,
    Measures,
    MethodResult,
    Methods,
    Report,
    compare,
)
from riverrun.evaluating import Listening, Question, fitted_on
from riverrun.settings import Settings
from trainer.tasks import Split


@dataclass(frozen=True, slots=True)
class Own:
    """That Riverrun's own are asked too: its parts, and the whole.

    ablation: also its list without each of its parts in turn. listening: shows the training.
    """

    ablation: bool
    listening: Listening


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """What methods reach on each task.

    told_apart: says in words what diversity is measured by, and what categories are.
    """

    results: Sequence[MethodResult]
    told_apart: str


def measure_quality(
    question: Question,
    methods: Methods,
    own: Own | None,
    settings: Settings,
    *,
    with_slices: bool,
    report: Report,
    stage: Callable[[str], None],
) -> Quality:
    """Fit methods on the past of the question, and ask them about its future.

    own: None leaves out Riverrun's own, which take minutes to fit. stage: is told what is done
    before the first method is fitted, where it takes a while.

    Raises `UserError` where Riverrun's own have nothing to learn from.
    """
    results: list[MethodResult] = []
    told_apart: list[str] = []
    for split, sliced in question.asked(with_slices=with_slices):
        items = split.past.items
        features, by = item_features(items, question.training, settings.text_embeddings, stage)
        labels, kind = item_labels(items, features, SEED)
        told_apart.append(f"diversity by {by}, categories are {kind}")
        measures = Measures(features, labels, sliced)
        results += compare(split, methods, measures, report)
        if own is not None:
            results += _own_results(own, question, split, settings, measures, report)
    return Quality(results, told_apart[0])


def _own_results(
    own: Own,
    question: Question,
    split: Split,
    settings: Settings,
    measures: Measures,
    report: Report,
) -> Iterator[MethodResult]:
    """Fit Riverrun's pipeline once on the split's past, and ask its parts and the whole."""
    with own.listening() as listener:
        fitted = fitted_on(split, question, settings, listener)
    report(f"Riverrun, {fitted.judgement.epochs} epochs", fitted.seconds)
    scorers = (*fitted.parts, fitted.two_tower, fitted.pipeline, fitted.diverse)
    # The split of everyone, newcomers included, is asked for its slices alone.
    ablation = own.ablation and split is question.split
    for scorer in chain(scorers, fitted.ablations() if ablation else ()):
        yield from measures.of(scorer, split, split.tasks, fitted.seconds)
