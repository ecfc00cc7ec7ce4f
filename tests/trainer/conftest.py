"""What several tests of training begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.saved_model import optimise_little
from serving.text_embedding_cache import TextEmbeddingCache
from tests.support import tiny_training as tiny
from tests.support.step_by_step import step_by_step
from tests.support.tiny_refresh import TinyRefresh

# As servers do. Trainings let TensorFlow rewrite their graphs, and those in processes of their own
# do here too: of the small models of tests that takes longer than to run them.
optimise_little()


@pytest.fixture(scope="module")
def trained_step_by_step() -> Iterator[None]:
    """For tests of what is done with a training: those of a training itself run its graphs."""
    with step_by_step():
        yield


@pytest.fixture(scope="session")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of one layer."""
    return tiny.tiny_preset(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def embedded() -> Iterator[TextEmbeddingCache]:
    """The texts that refreshes of this process have embedded."""
    cache = TextEmbeddingCache()
    yield cache
    cache.close()


@pytest.fixture
def shop(tmp_path: Path, preset: Path, embedded: TextEmbeddingCache) -> TinyRefresh:
    """A shop to refresh, without a bundle yet."""
    return TinyRefresh(tmp_path, preset, embedded)
