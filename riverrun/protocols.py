"""How each public data set is evaluated: where it is split, and the model's settings for it.

The settings were chosen on the validation split; the test split only reports.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from riverrun.importing import PresetData
from trainer.settings import TrainingSettings
from trainer.tasks import Split, leave_one_out_split, temporal_split


@dataclass(frozen=True)
class EvaluationProtocol:
    """Two splits of a data set, and the settings to train with."""

    validation: Callable[[PresetData], Split]
    test: Callable[[PresetData], Split]
    settings: TrainingSettings = field(default_factory=TrainingSettings)


def _online_retail_validation(data: PresetData) -> Split:
    cut, end = datetime(2011, 10, 9, tzinfo=UTC), datetime(2011, 11, 9, tzinfo=UTC)
    return temporal_split(data.events, data.items, cut, end)


def _online_retail_test(data: PresetData) -> Split:
    return temporal_split(data.events, data.items, datetime(2011, 11, 9, tzinfo=UTC))


PROTOCOLS = {
    "online-retail": EvaluationProtocol(_online_retail_validation, _online_retail_test),
    "sequences": EvaluationProtocol(
        lambda data: leave_one_out_split(data.events, data.items, held_out=2),
        lambda data: leave_one_out_split(data.events, data.items, held_out=1),
        # A click stream: what comes next is the question, and order matters.
        TrainingSettings(
            horizon_days=0.0, labels_per_position=1, history_length=50, recency_days=36_500.0
        ),
    ),
}
