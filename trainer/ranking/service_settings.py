"""What the service makes lists by, as training imitates it."""

from dataclasses import dataclass, field

from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.history import DEFAULT_MAX_LENGTH
from serving.settings import ServingSettings


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Settings of whoever serves the bundle.

    co_visitation: how its stream learns what goes together; 0 neighbours says that it does not.
    history_length: how many of a user's newest events it keeps, and reads features from.
    """

    serving: ServingSettings = field(default_factory=ServingSettings)
    co_visitation: CoVisitationSettings = field(
        default_factory=lambda: CoVisitationSettings(neighbours=0)
    )
    history_length: int = DEFAULT_MAX_LENGTH
