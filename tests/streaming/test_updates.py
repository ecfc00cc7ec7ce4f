"""No kind of value is forgotten, also one that is added later."""

from dataclasses import fields
from typing import Any

import pytest

from streaming.additive import ADDITIVE
from streaming.stream_state import Slice
from streaming.updates import VISIBLE, Updates

KINDS = [each.name for each in fields(Updates) if each.name != "outdated"]


def of(kind: str, **values: Any) -> Updates:
    updates = Updates()
    setattr(updates, kind, values)
    return updates


@pytest.mark.parametrize("kind", KINDS)
def test_the_values_of_parts_are_together_and_the_later_part_counts(kind: str) -> None:
    parts = [of(kind, a=1, b=1), of(kind, b=2), of(kind, c=3)]
    assert Updates.together(parts) == of(kind, a=1, b=2, c=3)
    assert parts == [of(kind, a=1, b=1), of(kind, b=2), of(kind, c=3)]


@pytest.mark.parametrize("kind", KINDS)
def test_readers_are_told_of_all_but_the_marks_and_moments(kind: str) -> None:
    assert of(kind, a=None).is_visible == (kind not in ("moments", "erasures"))
    assert (kind in VISIBLE) == of(kind, a=None).is_visible
    assert not of(kind).is_visible


def test_the_latest_moment_outdates_marks() -> None:
    assert Updates.together([Updates(outdated=3), Updates(outdated=2)]).outdated == 3
    assert not Updates(outdated=3).is_visible


def test_every_additive_kind_is_a_field_of_what_is_loaded_and_stored() -> None:
    for holder in (Updates(), Slice(1, {})):
        assert [kind.of(holder) for kind in ADDITIVE] == [{}] * len(ADDITIVE)
