"""The bundle that serves is compared with, unless its lists cannot be made any more."""

from pathlib import Path

from structlog.testing import capture_logs

from serving.text_embedding_cache import TextEmbeddingCache
from tests.support.tiny_bundle import build_tiny_bundle, of_an_earlier_release, tiny_ranking
from trainer.bundle_scorer import current_scorer
from trainer.ranking.service_settings import ServiceSettings


def test_one_that_ranks_by_what_there_is_no_more_has_nothing_to_say(tmp_path: Path) -> None:
    """It is known before the training, not when all else has been asked."""
    path = build_tiny_bundle(tmp_path, ranking=tiny_ranking(60))
    assert current_scorer(path, TextEmbeddingCache(), ServiceSettings()) is not None
    of_an_earlier_release(path)
    with capture_logs() as logs:
        assert current_scorer(path, TextEmbeddingCache(), ServiceSettings()) is None
    (line,) = logs
    assert line["event"] == "current_bundle_not_compared"
    assert "`ranking.features` must be" in line["reason"]
