"""The import names belong to other projects on PyPI too: these must be the checkout's."""

import importlib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["feature_repo", "trainer", "streaming", "serving", "riverrun"])
def test_a_package_is_the_one_of_this_checkout(name: str) -> None:
    file = importlib.import_module(name).__file__
    assert file is not None
    assert Path(file).resolve() == CHECKOUT / name / "__init__.py"
