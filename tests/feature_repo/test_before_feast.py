"""What is made of Feast before it is imported."""

import feature_repo.before_feast  # noqa: F401, I001 - first

import pytest
import typeguard
from feast import Field, FeatureView


@typeguard.typechecked
class Checked:
    def double(self, number: int) -> int:
        return 2 * number


def test_only_feast_is_left_unchecked() -> None:
    assert not any("memo" in each.__init__.__code__.co_varnames for each in (Field, FeatureView))
    with pytest.raises(typeguard.TypeCheckError):
        Checked().double("2")  # type: ignore[arg-type]
