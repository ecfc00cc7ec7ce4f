"""What a shop shows of the reasons of a place."""

from serving.ranking.feature_names import feature_names
from serving.ranking.settings import SOURCES
from serving.reasons import FEATURES, about


def test_every_feature_has_words_and_no_words_have_lost_theirs() -> None:
    named = {name.partition(".")[0] for name in feature_names(SOURCES)}
    assert {about(name) for name in feature_names(SOURCES)} == set(FEATURES.values())
    assert FEATURES.keys() == named
