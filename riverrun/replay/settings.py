"""What can be set about the shop that a replay runs."""

from dataclasses import dataclass, field

from feature_repo.history import DEFAULT_MAX_LENGTH
from serving.settings import ServingSettings
from streaming.settings import StreamingSettings


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """streaming, serving: of the shop that learns everything. length: events of a history."""

    streaming: StreamingSettings = field(default_factory=StreamingSettings)
    serving: ServingSettings = field(default_factory=ServingSettings)
    length: int = DEFAULT_MAX_LENGTH
