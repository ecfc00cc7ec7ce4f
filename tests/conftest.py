"""Settings shared by all tests: quiet TensorFlow, hypothesis without deadlines, real data."""

import feature_repo.import_feast  # noqa: F401

# isort: split
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import pytest
from hypothesis import HealthCheck, settings

from riverrun.interpreter import collect_seldom
from tests.support.kafka_server import kafka_server
from tests.support.redis_server import redis_server

settings.register_profile(
    "riverrun", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("riverrun")

# As the commands do.
collect_seldom()

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The files with long tests first: else one process is left alone with the last of them.
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)
    if REAL_DATA.is_dir():
        return
    skip = pytest.mark.skip(reason=f"the public data sets are absent: {REAL_DATA} is no folder")
    for item in items:
        if item.get_closest_marker("realdata"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with online-retail, amazon-beauty and chorus-icecat."""
    return REAL_DATA


@pytest.fixture(scope="session")
def kafka_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`HOST:PORT` of a real broker; every test uses a topic prefix of its own."""
    with kafka_server(tmp_path_factory.mktemp("kafka")) as address:
        yield address


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Redis database, for tests with the marker redis."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url
