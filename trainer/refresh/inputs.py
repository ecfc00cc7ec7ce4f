"""What a refresh is of, and what decides what comes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from feature_repo.offline_features import OfflineFeatures
from feature_repo.schema import Item
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.ranking.service_settings import ServiceSettings
from trainer.refresh.gate_settings import GateSettings
from trainer.settings import TrainingSettings


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RefreshInputs:
    """All that a refresh is given, but the events.

    items: the catalogue as it is now. The refresh learns from it, unless it goes on with an earlier
        try, which kept the catalogue of its own beginning.
    bundles: the folder of published bundles.
    current: the bundle that serves, as `readable_current` says before anything is done.
    features: makes the point-in-time join, so that no example shows more than was known then.
    text_cache: embeddings of texts; those that it lacks are added.
    now: when the bundle is made. It learns from no later events.
    service: how lists are made, and how the index that is checked is built.
    gates: what the bundle must reach to serve; without them every bundle serves.
    latest: returns the catalogue as of its call, for the bundle; without it, that is `items`.
    made_by: what the bundle says that it was made by.
    """

    items: Sequence[Item]
    settings: TrainingSettings
    bundles: Path
    current: Path | None
    features: OfflineFeatures
    text_cache: TextEmbeddingCache
    now: datetime
    service: ServiceSettings = field(default_factory=ServiceSettings)
    gates: GateSettings | None = None
    latest: Callable[[], Sequence[Item]] | None = None
    made_by: str = ""
