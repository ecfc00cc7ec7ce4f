"""How the trainings of refreshes run here."""

from collections.abc import Iterator

import pytest

from tests.support.step_by_step import step_by_step


@pytest.fixture(autouse=True, scope="module")
def _step_by_step() -> Iterator[None]:
    with step_by_step():
        yield
