"""What a search is told of a two-tower after each epoch."""

from typing import Any, cast

import numpy as np
import pytest

from trainer.material import Material
from trainer.ranking.service_settings import ServiceSettings
from trainer.settings import TrainingSettings
from trainer.tuning import objectives
from trainer.tuning.objectives import NewestSliceObjectives
from trainer.tuning.tuned_settings import TunedSettings


class TrainedError(Exception):
    pass


def test_a_trial_is_given_up_by_those_who_choose_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    unused, settings = cast(Any, None), TrainingSettings()
    material = Material(unused, [], unused, settings, unused, None, unused)
    asked = NewestSliceObjectives(material, unused, ServiceSettings())
    values = np.random.default_rng(0).random(9)
    halves = asked._halved(values)
    assert sorted([*halves.choosing, *halves.confirming]) == sorted(values)
    assert (len(halves.choosing), len(halves.confirming)) == (5, 4)

    def reported(of_users: np.ndarray) -> float:
        told: list[float] = []

        def trained(*parts: Any) -> None:
            parts[-1](1, of_users)
            raise TrainedError

        monkeypatch.setattr(objectives, "best_epoch", trained)
        with pytest.raises(TrainedError):
            asked.of_model(lambda step: None)(
                TunedSettings(), lambda epoch, value: told.append(value)
            )
        return told[0]

    assert reported(values) == pytest.approx(np.mean(halves.choosing))
    # Whatever comes to those who confirm.
    confirms = np.isin(values, halves.confirming)
    assert reported(np.where(confirms, 0.0, values)) == reported(values)
    assert reported(np.where(confirms, values, 0.0)) == 0.0
