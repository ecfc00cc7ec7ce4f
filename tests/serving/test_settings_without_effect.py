"""What is set and has no effect on the lists of a bundle is said as it begins to serve."""

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from serving.catalogue import Catalogue
from serving.ranking.settings import RankingSettings
from serving.reload import BundleWatcher, open_current
from serving.settings import ServingSettings
from serving.text_embedding_cache import TextEmbeddingCache
from tests.support.tiny_bundle import build_tiny_bundle, tiny_items, tiny_ranking

NUM_ITEMS = 20


def _weighing(*, learned: bool = True) -> ServingSettings:
    return ServingSettings(ranking=RankingSettings(weights={"ease": 0.3}, learned=learned))


@pytest.mark.parametrize("kind", ["none", "tables", "ranker"])
def test_the_log_says_that_weights_have_no_effect_beside_a_ranker(
    tmp_path: Path, kind: str
) -> None:
    """The server that starts with the bundle says it, and the one that takes it up."""
    ranking = None if kind == "none" else tiny_ranking(NUM_ITEMS, has_ranker=kind == "ranker")
    build_tiny_bundle(tmp_path, tiny_items(NUM_ITEMS), ranking=ranking)
    for changed, expected in (
        (_weighing(), kind == "ranker"),
        (_weighing(learned=False), False),
        (ServingSettings(), False),
    ):
        catalogue = Catalogue()
        with capture_logs() as lines:
            holder = open_current(tmp_path, catalogue, changed)
        said = [each for each in lines if each["event"] == "setting_has_no_effect"]
        assert [each["setting"] for each in said] == ["serving.ranking.weights"] * expected
        holder.current.space = replace(holder.current.space, bundle_version="another")
        watcher = BundleWatcher(tmp_path, holder, catalogue, changed, TextEmbeddingCache())
        with capture_logs() as lines:
            assert watcher.check()
        again = [each for each in lines if each["event"] == "setting_has_no_effect"]
        assert again == said


@pytest.mark.parametrize(
    ("objectives", "learned", "reason"),
    [
        ({"view": 1.0, "purchase": 5.0}, True, "The ranker weighs view, purchase, and not hire."),
        ({}, True, "The ranker weighs no types of event, and not hire, purchase."),
        ({"view": 1.0, "purchase": 5.0}, False, "No ranker orders the lists."),
        ({"hire": 1.0, "purchase": 5.0}, True, None),
    ],
)
def test_the_log_says_which_types_of_event_a_ranker_does_not_weigh(
    tmp_path: Path, objectives: dict[str, float], learned: bool, reason: str | None
) -> None:
    ranking = replace(tiny_ranking(NUM_ITEMS), objectives=objectives)
    build_tiny_bundle(tmp_path, tiny_items(NUM_ITEMS), ranking=ranking)
    weights = {"purchase": 9.0, "hire": 2.0}
    changed = RankingSettings(event_type_weights=weights, learned=learned)
    with capture_logs() as lines:
        open_current(tmp_path, Catalogue(), ServingSettings(ranking=changed))
    said = [line for line in lines if line["event"] == "setting_has_no_effect"]
    assert [line["reason"] for line in said] == ([] if reason is None else [reason])
    assert all(line["setting"] == "serving.ranking.event_type_weights" for line in said)
