"""What a shop shows of the reasons of a place."""

import pytest

from serving.ranking.feature_names import feature_names
from serving.ranking.reasons import FEATURES, about, again, did
from serving.source_names import SOURCES


def test_every_feature_has_words_and_no_words_have_lost_theirs() -> None:
    named = {name.partition(".")[0] for name in feature_names(SOURCES)}
    assert {about(name) for name in feature_names(SOURCES)} == set(FEATURES.values())
    assert FEATURES.keys() == named


@pytest.mark.parametrize(
    ("event_type", "title", "words"),
    [
        ("view", "<b>Vote</b> &amp; count", "you viewed Vote & count"),
        ("read", "a {} < b", "you read a {} < b"),
        ("share", "Vote", "you shared Vote"),
        ("bookmark", "<i>Vote</i>", "of Vote"),
    ],
)
def test_an_item_is_named_as_a_page_shows_it(event_type: str, title: str, words: str) -> None:
    assert did(event_type, title) == words


def test_of_an_unknown_type_nothing_is_said_of_the_item_itself() -> None:
    assert (again("read", often=True), again("bookmark", often=True)) == (
        "you read this",
        "you know this",
    )
