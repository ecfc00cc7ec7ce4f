"""What re-ranking adds to a request, from the scored candidates to the rows that are shown."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from feature_repo.history import UserHistory
from serving.candidates import Candidates
from serving.catalogue import Catalogue
from serving.live_model import LiveModel
from serving.ranking.list_rankings import GivenRanking
from serving.requests import ListRequest
from serving.reranking.reranker import Reranker
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context
from serving.sources.new_arrivals import NewArrivalsSource
from serving.sources.two_tower import TwoTowerSource

REPEATS = 1_000

_FACTORS = [
    {"kind": "boost", "filter": "price < 20", "factor": 2.0},
    {"kind": "bury", "filter": "price > 200", "factor": 0.5},
]
_PLACES = [
    {"kind": "pin", "filter": "price < 10", "place": 3},
    {"kind": "promote", "filter": "price < 20", "share": 0.2},
]
_KNOBS = {"diversity": 0.3, "calibration": 0.3, "exploration": 0.1}
_CAPS = {"category_cap": 4, "brand_cap": 4}
_MMR, _DPP = {"diversity_method": "mmr"}, {"diversity_method": "dpp"}

FUNCTIONS: Mapping[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "nothing": ({}, []),
    "boost and bury": ({}, _FACTORS),
    "diversity, MMR": ({"diversity": 0.3} | _MMR, []),
    "diversity, DPP": ({"diversity": 0.3} | _DPP, []),
    "calibration": ({"calibration": 0.3}, []),
    "category and brand caps": (_CAPS, []),
    "exploration": ({"exploration": 0.1}, []),
    "pin and promote": ({}, _PLACES),
    "everything, MMR": (_KNOBS | _CAPS | _MMR, _FACTORS + _PLACES),
    "everything, DPP": (_KNOBS | _CAPS | _DPP, _FACTORS + _PLACES),
}
"""Settings of re-ranking, and rules, by what is measured."""


@dataclass(frozen=True, slots=True)
class RerankingTime:
    """Milliseconds of one list by `function` from so many candidates."""

    function: str
    candidates: int
    p50_ms: float
    p99_ms: float


def measure_reranking(
    model: LiveModel,
    catalogue: Catalogue,
    histories: Sequence[UserHistory],
    *,
    sizes: Sequence[int],
    limit: int,
    at: datetime,
    repeats: int = REPEATS,
) -> list[RerankingTime]:
    """Time lists of `limit` items for the histories in turn, in one thread.

    The candidates for pins and promotions are found beforehand: that is the sources' work.
    """
    view = catalogue.view()
    asked: list[tuple[Context, Candidates]] = []
    for history in histories:
        query = model.encode_query(history)
        context = Context(model, view, view.available, False, query, at, history.events)
        asked.append((context, TwoTowerSource(ServingSettings()).propose(context, max(sizes))))
    times = []
    for (function, (knobs, rules)), size in (
        (each, size) for each in FUNCTIONS.items() for size in sizes
    ):
        settings = ServingSettings.model_validate(
            {"reranking": knobs, "rules": rules, "rerank_size": size}
        )
        reranker, seconds = Reranker(settings, NewArrivalsSource(settings)), []
        for number in range(repeats):
            context, found = asked[number % len(asked)]
            ranking = GivenRanking(Candidates(found.rows[:size], found.scores[:size]))
            start = time.perf_counter()
            request = reranker.completed(ListRequest(str(number), limit=limit))
            reranker.rerank(ranking, context, request)
            seconds.append(time.perf_counter() - start)
        p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1e3
        times.append(RerankingTime(function, size, float(p50), float(p99)))
    return times
