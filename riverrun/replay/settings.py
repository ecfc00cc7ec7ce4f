"""The settings of the shop that a replay runs."""

from dataclasses import dataclass, field

from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.history import DEFAULT_MAX_LENGTH
from serving.settings import ServingSettings
from streaming.settings import FoldInSettings, StreamingSettings
from trainer.ranking.service_settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """streaming, serving: those of the shop. length: the most events of a history."""

    streaming: StreamingSettings = field(default_factory=StreamingSettings)
    serving: ServingSettings = field(default_factory=ServingSettings)
    length: int = DEFAULT_MAX_LENGTH

    @property
    def immediate(self) -> StreamingSettings:
        """The settings of a stream whose every effect is visible to the next question.

        Co-visitation and fold-in, where the shop has them off, are on with default strength.
        """
        together, fold_in = self.streaming.co_visitation, self.streaming.fold_in
        return self.streaming.model_copy(
            update={
                "statistics_seconds": 0.0,
                "linger_seconds": 0.0,
                "co_visitation": together if together.neighbours else CoVisitationSettings(),
                "fold_in": fold_in if fold_in.prior else FoldInSettings(),
            }
        )

    @property
    def fixed(self) -> StreamingSettings:
        """`immediate` without fold-in."""
        fold_in = self.immediate.fold_in.model_copy(update={"prior": 0.0})
        return self.immediate.model_copy(update={"fold_in": fold_in})

    @property
    def service_settings(self) -> ServiceSettings:
        """The settings from which a training knows how lists are made and what a stream learns."""
        return ServiceSettings(self.serving, self.immediate.co_visitation, self.length)
