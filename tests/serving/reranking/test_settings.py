"""Rules are refused at start-up, by name and value, or hold."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from serving.settings import ServingSettings

PIN = {"kind": "pin", "filter": "item_id = 'i1'", "place": 1}
PROMOTE = {"kind": "promote", "filter": "brand = 'acme'", "share": 0.6}
MAY, JUNE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
SOON, LATER = MAY + timedelta(seconds=10), MAY + timedelta(seconds=40)
"""Within one minute."""


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"filter": "TRUE"}], "kind"),
        ([{"kind": "hide", "filter": "TRUE"}], "hide"),
        (
            [{"kind": "boost", "filter": "TRUE", "factor": 0.5}],
            r"(?s)boost\.factor.*greater than 1",
        ),
        ([{"kind": "bury", "filter": "TRUE", "factor": 0}], r"(?s)bury\.factor"),
        ([{"kind": "boost", "filter": "TRUE", "factor": 2, "share": 1}], "share"),
        ([PIN | {"place": 0}], r"(?s)pin\.place"),
        ([PROMOTE | {"share": 1.5}], r"(?s)promote\.share"),
        ([PIN | {"filter": "colour = 'red'"}], "names 'colour', which is no column"),
        ([PIN | {"filter": "price"}], "must be true or false"),
        ([PIN | {"filter": "20 < price < 30"}], "Join comparisons by AND"),
        ([PIN | {"filter": "price LIKE 'x'"}], "cannot be evaluated"),
        ([PIN | {"valid_from": "2026-05-01T00:00:00"}], "valid_from"),
        ([PIN | {"valid_from": JUNE, "valid_until": MAY}], "must be later than `valid_from`"),
        (
            [PIN | {"valid_from": SOON, "valid_until": LATER}],
            r"`valid_from`, both rounded up .* Received: 2026-05-01 00:01:00\+00:00",
        ),
        ([PIN, PIN | {"filter": "TRUE"}], "one item to a place at a time. Received: place 1"),
        (
            [PIN | {"valid_until": JUNE}, PIN | {"valid_from": MAY}],
            "one item to a place at a time",
        ),
        ([PROMOTE, PROMOTE], r"at most 1 in all at a time\. Received: 1\.2"),
        ([PROMOTE | {"valid_from": MAY}, PROMOTE], "Received: 1.2"),
        ([PIN | {"lists": ["search"]}], r"(?s)pin\.lists"),
        ([PIN | {"lists": []}], r"(?s)pin\.lists"),
        ([PIN, PIN | {"lists": ["similar", "recommend"]}], "one item to a place at a time"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused(rules: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ServingSettings.model_validate({"rules": rules})


@pytest.mark.parametrize(
    "rules",
    [
        [PIN, PIN | {"place": 2}],
        [PIN | {"valid_until": MAY}, PIN | {"valid_from": MAY}],
        [PROMOTE | {"valid_until": MAY}, PROMOTE | {"valid_from": MAY}],
        # Both take effect with the next minute.
        [PIN | {"valid_until": LATER}, PIN | {"valid_from": SOON}],
        [PROMOTE | {"valid_until": LATER}, PROMOTE | {"valid_from": SOON}],
        [PIN | {"valid_from": MAY, "valid_until": SOON}],
        [PROMOTE, PROMOTE | {"share": 0.4}],
        [PIN, PIN | {"lists": ["similar"]}, PIN | {"lists": ["trending"]}],
        [PROMOTE, PROMOTE | {"lists": ["similar"]}],
        [PROMOTE | {"filter": "attributes.sponsored"}],
        [PIN | {"filter": "title = 'Thé à la menthe — 薄荷茶'"}],
    ],
)
def test_rules_that_can_hold_are_taken(rules: list[dict[str, Any]]) -> None:
    assert len(ServingSettings.model_validate({"rules": rules}).rules) == len(rules)
