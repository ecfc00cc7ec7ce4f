"""How each public data set is evaluated: where it is split, and the settings for it.

The settings were chosen on the validation split; the test split only reports.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from riverrun.importing import PresetData
from riverrun.replay.questions import Period, last_events_period, split_period
from riverrun.replay.settings import ReplaySettings
from serving.ranking.settings import RankingSettings
from serving.settings import ServingSettings
from trainer.settings import TrainingSettings
from trainer.tasks import Split, leave_one_out_split, temporal_split


@dataclass(frozen=True)
class EvaluationProtocol:
    """Two splits of a data set and two periods to replay, and the settings to do it with."""

    validation: Callable[[PresetData], Split]
    test: Callable[[PresetData], Split]
    replay_validation: Callable[[PresetData], Period]
    replay_test: Callable[[PresetData], Period]
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    replay: ReplaySettings = field(default_factory=ReplaySettings)


VALIDATION, TEST = datetime(2011, 10, 9, tzinfo=UTC), datetime(2011, 11, 9, tzinfo=UTC)
"""Where the two months of online-retail begin."""


def _earlier_last_events(data: PresetData) -> Period:
    """Return the two events of each user before the last two, which nothing may be chosen on."""
    return last_events_period(last_events_period(data.events, data.items).past, data.items)


PROTOCOLS = {
    "online-retail": EvaluationProtocol(
        lambda data: temporal_split(data.events, data.items, VALIDATION, TEST),
        lambda data: temporal_split(data.events, data.items, TEST),
        lambda data: split_period(data.events, data.items, VALIDATION, TEST),
        lambda data: split_period(data.events, data.items, TEST),
        # Few items are bought again and again; what a month of gifts asks for changes by the day.
        replay=ReplaySettings(
            serving=ServingSettings(
                ranking=RankingSettings(weights={"trending": 0.7, "co_visitation": 0.1})
            )
        ),
    ),
    "sequences": EvaluationProtocol(
        lambda data: leave_one_out_split(data.events, data.items, held_out=2),
        lambda data: leave_one_out_split(data.events, data.items, held_out=1),
        _earlier_last_events,
        lambda data: last_events_period(data.events, data.items),
        # A click stream: what comes next is the question, and order matters.
        TrainingSettings(
            horizon_days=0.0, labels_per_position=1, history_length=50, recency_days=36_500.0
        ),
    ),
}
