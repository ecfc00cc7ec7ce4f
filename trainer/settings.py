"""What can be set about a model and its training."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from feature_repo.event_weights import Weight
from feature_repo.settings_model import SettingsModel
from feature_repo.times import LONGEST_DAYS
from trainer.ranking.settings import RankerSettings

Share = Annotated[float, Field(ge=0, lt=1)]


class TextSettings(SettingsModel):
    """Which BERT reads the items' text.

    `model` is a folder in the Hugging Face or KerasHub layout, or the name of a KerasHub preset
    that is already on this machine; unset, it is all-MiniLM-L6-v2 as installed with Riverrun.
    `lora_rank` 0 keeps BERT frozen, so that each text is embedded once and cached. Above 0 each
    training fine-tunes it for itself: bundles then have no table of the likeness of texts, and
    `diversity@10` is not measured. Of a text it reads the first `max_tokens`, and `batch_size`
    texts at a time.
    """

    model: str = ""
    max_tokens: Annotated[int, Field(ge=8, le=512)] = 64
    batch_size: Annotated[int, Field(ge=1)] = 64
    lora_rank: Annotated[int, Field(ge=0, le=256)] = 0


class WarmStartSettings(SettingsModel):
    """How a training goes on from the bundle that serves, where its settings are the same.

    enabled: whether it does; otherwise each training starts from nothing.
    epochs, learning_rate: in place of those of a training from nothing.
    days: learn from the newest so many days of events alone, with the histories before them; 0
        learns from all.
    min_users: so many who were known must have acted on known items in the newest slice, which
        begins after the newest event that the bundle learned from. What it has seen it cannot be
        judged by: where there are fewer, the start is cold. Half of them judge, and
        `ranking.min_users` of the others are to teach the ranker.
    """

    enabled: bool = True
    epochs: Annotated[int, Field(ge=1)] = 3
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    days: Annotated[float, Field(ge=0, le=LONGEST_DAYS)] = 0.0
    min_users: Annotated[int, Field(ge=1)] = 250


class TrainingSettings(SettingsModel):
    """The two-tower model and how it is trained.

    The defaults were chosen on the validation month of UCI Online Retail (ADR 0007).

    dimension: of query and candidate embeddings.
    transformer_layers, transformer_heads: of the query tower, which has at most `dimension` heads.
    hidden_units: of its layer that corrects the weighted sum of a user's events.
    history_length: so many of a user's newest events are read.
    id_dropout, event_dropout, hidden_dropout: the share of item ids, of events of a history and
        of hidden units that a step goes without.
    horizon_days: what a user did within so many days of an event is to be found from it; 0 asks
        for the next event alone.
    positions_per_window, labels_per_position: at most so many positions of a history are asked
        about in an epoch, and so many events of the future of each.
    queries_per_step: a step costs queries times candidates; more labels are left to other epochs.
    recency_days: an example counts less by e for every so many days before the newest.
    query_share: so many positions are also told what was searched for. With 0, a search query
        moves nothing.
    event_type_weights: what a label counts; a type that is not named, 1. Not all that
        there are may count 0. What counts 0 is no hit of an evaluation either, no simple
        recommender counts it, and it says nothing for an item: no table and no signal is of it, and
        no source but the two-tower reads it in a user's history.
    holdout: what is held out to choose the number of epochs, to learn to rank from and to report
        by: the "newest" share of the time, at most 30 days; or each user's "last_events", where
        the order of a user's events is known but times mean nothing.
    holdout_share: of the time; 0 holds nothing out: it trains once, for all epochs.
    epochs: at most; the held-out slice chooses. batch_size: histories a step. learning_rate: of
        the first step; it falls to a twentieth of that. seed: of all that is drawn.
    num_sampled_negatives: beside the labels of the step; at least the size of the catalogue means
        every item, once.
    precision: of Keras. strategy: of tf.distribute; by "multi_worker_mirrored" the workers in
        TF_CONFIG train together (infra/docs/gpu.md). tensorboard: a folder to log to.
    """

    text: TextSettings = TextSettings()
    warm_start: WarmStartSettings = WarmStartSettings()

    dimension: Annotated[int, Field(ge=8, le=1024)] = 128
    hidden_units: Annotated[int, Field(ge=8, le=4096)] = 64
    transformer_layers: Annotated[int, Field(ge=0, le=12)] = 1
    transformer_heads: Annotated[int, Field(ge=1, le=16)] = 2
    history_length: Annotated[int, Field(ge=2, le=4096)] = 128
    id_dropout: Share = 0.1
    event_dropout: Share = 0.3
    hidden_dropout: Share = 0.2

    horizon_days: Annotated[float, Field(ge=0, le=LONGEST_DAYS)] = 30.0
    positions_per_window: Annotated[int, Field(ge=1)] = 16
    labels_per_position: Annotated[int, Field(ge=1)] = 16
    queries_per_step: Annotated[int, Field(ge=1)] = 2048
    recency_days: Annotated[float, Field(gt=0)] = 45.0
    query_share: Share = 0.0
    event_type_weights: dict[str, Weight] = {}

    holdout: Literal["newest", "last_events"] = "newest"
    holdout_share: Annotated[float, Field(ge=0, le=0.5)] = 0.1

    ranking: RankerSettings = RankerSettings()

    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    num_sampled_negatives: Annotated[int, Field(ge=0)] = 4096
    seed: int = 0
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    strategy: Literal["default", "mirrored", "tpu", "multi_worker_mirrored"] = "default"
    tensorboard: Path | None = None

    @property
    def weightless(self) -> frozenset[str]:
        """The types of event that count nothing as a label."""
        weights = self.event_type_weights
        return frozenset(name for name, weight in weights.items() if not weight)

    @model_validator(mode="after")
    def _heads_share_the_dimension(self) -> "TrainingSettings":
        if self.transformer_heads > self.dimension:
            raise ValueError(
                "`transformer_heads` must be at most `dimension`. "
                f"Received: {self.transformer_heads} and {self.dimension}."
            )
        return self
