"""`riverrun bench reranking` times every part of re-ranking on the model that it is given."""

from datetime import timedelta
from pathlib import Path

from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.times import microseconds
from riverrun.bench.reranking import FUNCTIONS, measure_reranking
from serving.catalogue import Catalogue
from serving.reload import open_current
from tests.support.tiny_bundle import CREATED_AT, build_tiny_bundle

HISTORY = UserHistory("u", (HistoryEvent(microseconds(CREATED_AT), "e", "i1", "view", 0.0),))


def test_every_part_is_timed_for_every_number_of_candidates(tmp_path: Path) -> None:
    build_tiny_bundle(tmp_path)
    catalogue = Catalogue()
    model = open_current(tmp_path, catalogue).current
    times = measure_reranking(
        model,
        catalogue,
        [HISTORY],
        sizes=(10, 40),
        limit=5,
        at=CREATED_AT + timedelta(hours=1),
        repeats=3,
    )
    assert [(each.function, each.candidates) for each in times] == [
        (function, size) for function in FUNCTIONS for size in (10, 40)
    ]
    assert all(0 < each.p50_ms <= each.p99_ms for each in times)
