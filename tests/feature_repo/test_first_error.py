"""What pydantic refuses is said once, and is as long as can be read."""

from typing import Any

import pytest
from pydantic import ValidationError

from feature_repo.first_error import FirstError
from feature_repo.schema import Event, Item

NESTED: dict[str, Any] = {}
for _ in range(200):
    NESTED = {"x": NESTED}


@pytest.mark.parametrize(
    ("model", "fields", "key", "statement"),
    [
        (
            Event,
            {"event_id": " a"},
            "event_id",
            "must be printable and not padded with spaces. Received: ' a'.",
        ),
        (Event, {}, "event_id", "is missing."),
        (
            Item,
            {"item_id": "i", "price": -1.5},
            "price",
            "Input should be greater than or equal to 0. Received: -1.5.",
        ),
        (
            Item,
            {"item_id": "i", "brand": "x" * 100_000},
            "brand",
            f"String should have at most 256 characters. Received: '{'x' * 199}....",
        ),
        (
            Item,
            {"item_id": ["x"] * 999},
            "item_id",
            "Input should be a valid string. Received: list.",
        ),
        (
            Item,
            {"item_id": "i", "attributes": {"x": None}},
            "attributes.x",
            "must be a text, a number, or true or false. Received: None.",
        ),
        (
            Item,
            {"item_id": "i", "more": NESTED},
            "more",
            "must be nested at most 100 deep. Received: dict.",
        ),
    ],
)
def test_it_names_the_key_the_reason_and_what_was_received_as_far_as_it_is_short(
    model: type[Event] | type[Item], fields: dict[str, Any], key: str, statement: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        model.model_validate(fields)
    assert FirstError.of(refused.value) == FirstError(
        key, statement.partition(". Received: ")[0].removesuffix("."), statement
    )


def test_a_key_is_repeated_as_far_as_it_is_short() -> None:
    with pytest.raises(ValidationError) as refused:
        Item.model_validate({"item_id": "i", "attributes": {"x" * 100_000: None}})
    assert len(FirstError.of(refused.value).key) < 300
