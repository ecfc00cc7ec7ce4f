"""How the trainings of refreshes run here."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def _step_by_step(trained_step_by_step: None) -> None:
    pass
