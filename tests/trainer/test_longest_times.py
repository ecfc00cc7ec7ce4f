"""A time that can be set can be reckoned with; a longer one is refused."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from feature_repo.times import LONGEST_DAYS
from tests.support import tiny_training as tiny
from trainer.refresh.drift_settings import DriftSettings
from trainer.settings import TrainingSettings, WarmStartSettings
from trainer.start import Start
from trainer.windows import make_windows


@pytest.mark.parametrize(
    ("settings", "name", "longest"),
    [
        (TrainingSettings, "horizon_days", LONGEST_DAYS),
        (WarmStartSettings, "days", LONGEST_DAYS),
        (DriftSettings, "check_hours", 24 * LONGEST_DAYS),
        (DriftSettings, "pause_hours", 24 * LONGEST_DAYS),
    ],
)
def test_a_longer_time_is_refused(settings: type[BaseModel], name: str, longest: float) -> None:
    assert getattr(settings(**{name: longest}), name) == longest
    with pytest.raises(ValidationError, match="less than or equal to"):
        settings(**{name: longest * 1.001})


def test_the_longest_time_is_all_that_there_is() -> None:
    columns = tiny.tiny_interactions(users=4, events=4)
    warm_start = WarmStartSettings(days=LONGEST_DAYS)
    settings = tiny.tiny_settings(horizon_days=LONGEST_DAYS, warm_start=warm_start)
    warm: Any = SimpleNamespace(end=None, version="v")
    since = Start(warm).since(settings, columns.end)
    assert since == columns.end - timedelta(days=LONGEST_DAYS)
    windows = make_windows(columns, settings, since)
    # Whatever follows a cut is to be found from it.
    assert windows.label_end.tolist() == columns.first_event[1:].repeat(3).tolist()
