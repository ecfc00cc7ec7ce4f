"""A time that can be set can be reckoned with; a longer one is refused."""

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from feature_repo.times import LONGEST_DAYS
from tests.support import tiny_training as tiny
from trainer.ranking.fitted_tables import fit_tables
from trainer.ranking.settings import RankerSettings
from trainer.refresh.drift_settings import DriftSettings
from trainer.settings import TrainingSettings, WarmStartSettings
from trainer.start import Start
from trainer.windows import make_windows


def times() -> Iterator[tuple[type[BaseModel], str, float]]:
    """Yield each time of these settings, with the longest that it can be."""
    for settings in (TrainingSettings, WarmStartSettings, RankerSettings, DriftSettings):
        for name in settings.model_fields:
            if name.endswith("days"):
                yield settings, name, LONGEST_DAYS
            elif name.endswith("hours"):
                yield settings, name, 24 * LONGEST_DAYS


@pytest.mark.parametrize(("settings", "name", "longest"), list(times()))
def test_a_longer_time_is_refused(settings: type[BaseModel], name: str, longest: float) -> None:
    assert getattr(settings(**{name: longest}), name) == longest
    with pytest.raises(ValidationError, match="less than or equal to"):
        settings(**{name: longest * 1.001})


def test_the_longest_time_is_all_that_there_is() -> None:
    columns = tiny.tiny_interactions(users=4, events=4)
    longest = {name: LONGEST_DAYS for kind, name, _ in times() if kind is TrainingSettings}
    warm_start = WarmStartSettings(days=LONGEST_DAYS)
    settings = tiny.tiny_settings(**longest, warm_start=warm_start)
    warm: Any = SimpleNamespace(end=None, version="v")
    since = Start(warm).since(settings, columns.end)
    assert since == columns.end - timedelta(days=LONGEST_DAYS)
    windows = make_windows(columns, settings, since)
    # Whatever follows a cut is to be found from it.
    assert windows.label_end.tolist() == columns.first_event[1:].repeat(3).tolist()
    ranking = RankerSettings(ease_days=LONGEST_DAYS)
    assert fit_tables(columns, tiny.tiny_text_embeddings(), ranking).tables
