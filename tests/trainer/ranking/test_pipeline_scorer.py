"""What is asked of a whole list is what the service would be asked for."""

import numpy as np

from serving.ranking.bundle_files import RankingData
from serving.ranking.settings import RankingSettings
from serving.settings import ServingSettings
from serving.signals.item_neighbours import NeighbourTable
from serving.signals.item_signals import SIGNALS
from tests.support.few_events import ITEMS, frame
from trainer.interactions import Interactions
from trainer.ranking.past_shop import PastShop, ranking_of
from trainer.ranking.pipeline_scorer import CrossFittedScorer, PipelineScorer, RerankedScorer
from trainer.ranking.service_settings import ServiceSettings

NUM_ITEMS = len(ITEMS)
SEEN, NEW = [0, 1], 2
USERS = np.array([0])


def pipeline(history_length: int = 128) -> PipelineScorer:
    """One user has acted on two items; each leads to both and, least of all, to a third one.

    The one source proposes no more than these two.
    """
    past = Interactions.from_frame(frame([(0, item, item) for item in SEEN]), ITEMS)
    lengths = np.zeros(NUM_ITEMS, np.int64)
    lengths[SEEN] = 3
    table = NeighbourTable(
        np.concatenate([[0], np.cumsum(lengths)]),
        np.array([*SEEN, NEW] * 2, np.int32),
        np.array([3, 2, 1] * 2, np.float32),
        30.0,
    )
    data = RankingData({"ease": table}, np.zeros((NUM_ITEMS, len(SIGNALS)), np.float32))
    ranking = RankingSettings(sources=("ease",), source_size=2)
    service = ServiceSettings(
        serving=ServingSettings(ranking=ranking), history_length=history_length
    )
    shop = PastShop(past, ranking_of(data), None, service)
    return PipelineScorer("list", shop, lambda users: np.zeros((len(users), 1), np.float32))


def test_what_may_not_be_shown_takes_no_place_among_the_candidates() -> None:
    """As for a request with `exclude_seen`: else who has seen much would be proposed little."""
    scorer, excluded = pipeline(), [np.array(SEEN)]
    cross = CrossFittedScorer("list", USERS, scorer, scorer)
    diverse = RerankedScorer("list", scorer, ServingSettings())
    others = np.delete(np.arange(NUM_ITEMS), SEEN)
    for each in (scorer, cross, diverse):
        openly, (scores,) = each.score(USERS)[0], each.score_without(USERS, excluded)
        assert set(np.argsort(-openly)[:2].tolist()) == set(SEEN)
        assert np.flatnonzero(scores[others] == scores[others].max()).tolist() == [
            others.tolist().index(NEW)
        ]
    # Asked openly, it is not even proposed.
    assert len(set(scorer.score(USERS)[0, others].tolist())) == 1


def test_what_was_seen_too_long_ago_to_be_known_still_takes_its_place() -> None:
    """A service hides what is in the history it keeps; an evaluation flatters no longer one."""
    scorer = pipeline(history_length=1)
    assert scorer.shop.seen(0).tolist() == SEEN[1:]
    (scores,) = scorer.score_without(USERS, [np.array(SEEN)])
    others = np.delete(np.arange(NUM_ITEMS), SEEN[1:])
    assert others[np.argmax(scores[others])] == SEEN[0]
