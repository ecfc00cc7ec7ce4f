"""The states that the contract of `OpenState` is tested on."""

from collections.abc import Callable, Iterator

import pytest

from streaming.open_stream_state import open_stream_state
from streaming.stream_state import OpenState

SCHEMES = ["sqlite", pytest.param("redis", marks=pytest.mark.redis)]


@pytest.fixture(scope="module", params=SCHEMES)
def open_state(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[], OpenState]]:
    """Opens the one state of a scheme, as one process after another would."""
    opened: list[OpenState] = []
    if request.param == "sqlite":
        url = f"sqlite://{tmp_path_factory.mktemp('state') / 'state.sqlite'}"
    else:
        url = request.getfixturevalue("redis_url")

    def open_it() -> OpenState:
        opened.append(open_stream_state(url))
        return opened[-1]

    yield open_it
    for state in opened:
        state.close()


@pytest.fixture(scope="module")
def shared(open_state: Callable[[], OpenState]) -> OpenState:
    return open_state()


@pytest.fixture
def state(shared: OpenState) -> OpenState:
    """An empty state."""
    shared.reset()
    return shared
