"""Whether a ranker that learned from little ranks better than the fusion, which need not learn."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import structlog

from serving.ranking.calibrated_fusion import fusion_of
from serving.ranking.settings import RankingSettings
from trainer import metrics
from trainer.evaluate import NDCG_AT
from trainer.ranking.calibration import calibrated_fusion
from trainer.ranking.examples import Examples
from trainer.ranking.ranker import as_ranker, train_ranker
from trainer.ranking.settings import RankerSettings

NOTHING = np.empty(0, dtype=np.int64)


def ranks_better_than_fusion(
    newest: Examples,
    whole: Examples,
    older: Sequence[Examples],
    settings: RankerSettings,
    seed: int,
    serving: RankingSettings | None = None,
) -> bool:
    """Return whether a ranker orders requests that it has not seen better than the fusion does.

    Twofold cross-validation over the newest slice's requests, by the mean NDCG of their candidates:
    a ranker that learned from one half, and from all older examples, is asked about the other, and
    so is the fusion, calibrated on the same half.

    whole: all candidates of the same requests, of which those that are learned from may be a
    sample. Halves are asked about all: a sample does not tell who ranks better (`trainer.metrics`).
    serving: how the fusion is set.
    """
    serving = serving or RankingSettings()
    order = np.random.default_rng(seed).permutation(newest.num_requests)
    halves = np.array_split(order, 2)
    by_ranker, by_fusion = [], []
    for taught, asked in (halves, reversed(halves)):
        lesson, held_out = newest.of(np.sort(taught)), whole.of(np.sort(asked))
        examples = Examples.joined([lesson, *older])
        ranker = as_ranker(train_ranker(examples, settings, seed))
        by_ranker += _ndcgs(ranker.score(held_out.features), held_out)
        assert held_out.opinions is not None, "the two-tower speaks in the newest slice"
        fusion = fusion_of(serving, calibrated_fusion(lesson))
        by_fusion += _ndcgs(held_out.opinions.fused(fusion, held_out.requests), held_out)
    learned, fused = metrics.mean_of(by_ranker), metrics.mean_of(by_fusion)
    structlog.get_logger(__name__).info(
        "ranker_tried", requests=len(by_ranker), ndcg=learned, ndcg_of_fusion=fused
    )
    return learned > fused


def _ndcgs(scores: npt.NDArray[np.float32], examples: Examples) -> list[float]:
    ends = np.cumsum(examples.sizes)[:-1]
    return [
        metrics.ndcg(metrics.rank_relevant(score, np.flatnonzero(worth), NOTHING), NDCG_AT)
        for score, worth in zip(np.split(scores, ends), np.split(examples.worth, ends), strict=True)
    ]
