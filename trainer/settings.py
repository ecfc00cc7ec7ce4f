"""What can be set about a model and its training."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from trainer.ranking.settings import RankerSettings

Share = Annotated[float, Field(ge=0, lt=1)]


class TextSettings(BaseModel):
    """Which BERT reads the items' text.

    `model` is a folder in the Hugging Face or KerasHub layout, or the name of a KerasHub preset
    that is already on this machine; unset, it is all-MiniLM-L6-v2 as installed with Riverrun.
    `lora_rank` 0 keeps BERT frozen, so that each text is embedded once and cached.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = ""
    max_tokens: Annotated[int, Field(ge=8, le=512)] = 64
    batch_size: Annotated[int, Field(ge=1)] = 64
    lora_rank: Annotated[int, Field(ge=0, le=256)] = 0


class WarmStartSettings(BaseModel):
    """How a training goes on from the bundle that serves, where its settings are the same.

    enabled: whether it does; otherwise each training starts from nothing.
    epochs, learning_rate: in place of those of a training from nothing.
    days: learn from the newest so many days of events alone, with the histories before them; 0
        learns from all.
    min_users: so many must have acted since the newest event that the bundle learned from. What
        it has seen it cannot be judged by: where there are fewer, the start is cold. Half of them
        judge, and `ranking.min_users` of the others are to teach the ranker.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    epochs: Annotated[int, Field(ge=1)] = 3
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    days: Annotated[float, Field(ge=0)] = 0.0
    min_users: Annotated[int, Field(ge=1)] = 250


class TrainingSettings(BaseModel):
    """The two-tower model and how it is trained.

    The defaults were chosen on the validation month of UCI Online Retail (ADR 0007).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: TextSettings = TextSettings()
    warm_start: WarmStartSettings = WarmStartSettings()

    # The model.
    dimension: Annotated[int, Field(ge=8, le=1024)] = 128
    hidden_units: Annotated[int, Field(ge=8, le=4096)] = 64
    transformer_layers: Annotated[int, Field(ge=0, le=12)] = 1
    transformer_heads: Annotated[int, Field(ge=1, le=16)] = 2
    history_length: Annotated[int, Field(ge=2, le=4096)] = 128
    id_dropout: Share = 0.1
    event_dropout: Share = 0.3
    hidden_dropout: Share = 0.2

    # The examples.
    horizon_days: Annotated[float, Field(ge=0)] = 30.0
    positions_per_window: Annotated[int, Field(ge=1)] = 16
    labels_per_position: Annotated[int, Field(ge=1)] = 16
    # A step costs queries times candidates: more labels than these are left to other epochs.
    queries_per_step: Annotated[int, Field(ge=1)] = 2048
    recency_days: Annotated[float, Field(gt=0)] = 45.0
    # So many positions are also told what was searched for; the others have no query. With 0 a
    # search query moves nothing.
    query_share: Share = 0.0
    event_type_weights: dict[str, Annotated[float, Field(ge=0)]] = {}

    # What is held out to choose the number of epochs, to learn to rank from and to report by: the
    # newest share of the time, at most 30 days; or, where the order of a user's events is known
    # but times mean nothing, each user's last event. A share of 0 holds nothing out: it trains
    # once, for all epochs.
    holdout: Literal["newest", "last_events"] = "newest"
    holdout_share: Annotated[float, Field(ge=0, le=0.5)] = 0.1

    # What candidates are ranked by.
    ranking: RankerSettings = RankerSettings()

    # The optimisation.
    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    num_sampled_negatives: Annotated[int, Field(ge=0)] = 4096
    seed: int = 0
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    strategy: Literal["default", "mirrored", "tpu", "multi_worker_mirrored"] = "default"
    tensorboard: Path | None = None
