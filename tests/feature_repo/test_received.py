"""What was received is repeated in a message as far as it is short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.received import SHOWN, described, shortened
from feature_repo.schema import Item


@given(st.text(max_size=2 * SHOWN))
def test_a_text_is_whole_or_its_beginning(text: str) -> None:
    shown = shortened(text)
    assert shown == text if len(text) <= SHOWN else shown == text[:SHOWN] + "..."


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\n", r"'a\n'"),
        (1.5, "1.5"),
        (None, "None"),
        (["x"] * 1000, "list"),
        ({"x": 1}, "dict"),
        (Item(item_id="i"), "Item"),
        ("x" * 1000, "'" + "x" * (SHOWN - 1) + "..."),
    ],
)
def test_a_value_is_shown_as_python_writes_it_unless_it_is_nested(
    value: object, shown: str
) -> None:
    assert described(value) == shown
