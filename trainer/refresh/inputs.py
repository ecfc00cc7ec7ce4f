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


@dataclass(frozen=True, slots=True, eq=False)
class RefreshInputs:
    """All that a refresh is given, but the events.

    items: the catalogue as it is now, of which it learns, unless it goes on with the one of before.
    bundles: the folder of what is published. current: the one of them that serves, as
    `readable_current` says before anything is done. features: makes the point-in-time join: of no
    example is more shown than was known then. text_cache: embeddings of texts, which it also keeps.
    now: when the bundle is made. service: how lists are made, and how the index that is checked is
    built. gates: what the bundle must reach to serve; without them every bundle serves. latest:
    returns the catalogue as of its call, which the bundle gets; where there is none, `items` do not
    change.
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
