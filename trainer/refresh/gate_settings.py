"""What can be set about the gates of a refresh."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from feature_repo.settings_model import SettingsModel

OF_TEXTS = "diversity@10"
"""The metric that reads embeddings of texts: with LoRA there are none to measure it by."""

LEAVE_ONE_OUT = "leave-one-out"
"""The task of `training.holdout` "last_events"; the others are of "newest"."""

TASKS = ("novel", "all", LEAVE_ONE_OUT)
METRICS = (
    "ndcg@10",
    "recall@20",
    "precision@10",
    "f1@10",
    "hit@10",
    "mrr",
    "auc",
    "coverage@10",
    OF_TEXTS,
)
OF_FRESH_ITEMS = ("popularity, last day", "newest first")
"""The baselines that are asked only where most of what people act on is fresh, as news are."""

OF_RETURNS = "own items, then popular"
"""The baseline that is asked only where people come back to items, as to groceries."""

BASELINES = (
    "popularity",
    "popularity, last 14 days",
    *OF_FRESH_ITEMS,
    OF_RETURNS,
    "item-kNN, cosine",
)
"""What a gate may name: all that a refresh measures, where more is better. One that named anything
else would be open, and one that named `gini@10`, which falls as lists show more, would be reversed.
"""


DEFAULT_MAX_LOSS = {"all/ndcg@10": 0.1, f"{LEAVE_ONE_OUT}/ndcg@10": 0.1}
"""For either way to hold out: of these gates one is always asked, and not both."""


def _is_measured(name: str) -> str:
    task, _, metric = name.partition("/")
    if task not in TASKS or metric not in METRICS:
        raise ValueError(
            f"must be one of {', '.join(TASKS)}, a slash, and one of {', '.join(METRICS)}. "
            f"Received: {name!r}."
        )
    return name


def _is_baseline(name: str) -> str:
    if name not in BASELINES:
        raise ValueError(f"must be one of {list(BASELINES)}. Received: {name!r}.")
    return name


Share = Annotated[float, Field(ge=0, le=1)]
Metric = Annotated[str, AfterValidator(_is_measured)]
Baseline = Annotated[str, AfterValidator(_is_baseline)]


class GateSettings(SettingsModel):
    """When a candidate is refused. A metric is named `task/metric`, as in `all/ndcg@10`.

    The tasks are `novel` and `all` of a slice of time that is held out, `leave-one-out` of last
    events; what was not asked decides nothing, and the refresh says so.

    max_loss: how much a metric may be below the current bundle's, as a share of it; open, as
        `min_gain`, where that has learned from some of the slice, which the judged model has not.
    min_gain: how much it must be above the current bundle's, as a share of it.
    min_value: what it must reach in any case, with or without a current bundle.
    beats: a baseline, such as `popularity`, that must not be better in a metric of `max_loss`.
    min_users: a slice with fewer users is too small to decide by: these gates are then open.
    min_index_recall: of the candidate's index against exact search, at 10.
    max_latency_ms: of one encoded query, the median; 0 sets no limit.
    """

    max_loss: dict[Metric, Share] = DEFAULT_MAX_LOSS
    min_gain: dict[Metric, Annotated[float, Field(ge=0)]] = {}
    min_value: dict[Metric, float] = {}
    beats: tuple[Baseline, ...] = ()
    min_users: Annotated[int, Field(ge=0)] = 100
    min_index_recall: Share = 0.9
    max_latency_ms: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _beats_in_a_metric(self) -> "GateSettings":
        if self.beats and not self.max_loss:
            raise ValueError(
                "`beats` compares the metrics of `max_loss`, which names none. "
                f"Received: {list(self.beats)}."
            )
        return self
