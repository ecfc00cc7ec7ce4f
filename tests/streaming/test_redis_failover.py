"""A Redis master that becomes a replica, and keeps its connections, is left for the new one."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.open_online_features import open_online_features
from streaming.redis_state import RedisState
from streaming.stream_state import StateError
from streaming.updates import Updates
from tests.support.redis_server import RedisServer
from tests.support.stream import event

pytestmark = pytest.mark.redis

REFUSAL = "You can't write against a read only replica."
HISTORY = UserHistory("u", (HistoryEvent.of(event(1)),))


class Address:
    """An address whose new connections lead to `master`; those there are stay where they are."""

    def __init__(self, master: int) -> None:
        self.master = master
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"redis://127.0.0.1:{self._server.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._server.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self.master))
            self._open += (here, there)
            for ends in ((here, there), (there, here)):
                threading.Thread(target=_carry, args=ends, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for each in self._open:
            each.close()


def _carry(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


class Pair:
    """Two servers; the first is the master, until the second is."""

    def __init__(self, folder: Path) -> None:
        self._servers = []
        for name in ("first", "second"):
            (folder / name).mkdir()
            server = RedisServer(folder / name)
            server.start()
            self._servers.append(server)
        first, second = (int(each.url.split(":")[2].split("/")[0]) for each in self._servers)
        self._second = second
        self._client = redis.Redis(port=first)
        self.address = Address(first)

    def fail_over(self) -> None:
        self._client.replicaof("127.0.0.1", str(self._second))
        self.address.master = self._second

    def close(self) -> None:
        self.address.close()
        self._client.close()
        for server in self._servers:
            server.kill()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with closing(Pair(tmp_path)) as pair:
        yield pair


def test_the_state_is_written_to_the_new_master(pair: Pair) -> None:
    updates = Updates(histories={"u": HISTORY})
    with closing(RedisState(pair.address.url)) as state:
        state.commit(0, 0, updates, {})
        pair.fail_over()
        with pytest.raises(StateError, match="read only"):
            state.forget_pushed(0, {("history", "u"): "0:1"})
        # The new one has nothing of the first: only where it is asked matters here.
        state.commit(0, 0, updates, {})
        assert state.load(0, ["u"], ()).histories == {"u": HISTORY}


def test_a_commit_that_is_refused_is_told_without_what_it_holds(pair: Pair) -> None:
    with closing(RedisState(pair.address.url)) as state:
        state.partitions()
        pair.fail_over()
        with pytest.raises(StateError) as raised:
            state.commit(0, 0, Updates(histories={"u": HISTORY}), {})
        assert str(raised.value) == f"state {pair.address.url}: {REFUSAL}"


def test_features_are_written_to_the_new_master(pair: Pair, tmp_path: Path) -> None:
    with closing(open_online_features(pair.address.url, tmp_path / "registry.db")) as online:
        online.push([HISTORY])
        pair.fail_over()
        with pytest.raises(redis.ReadOnlyError) as raised:
            online.push([HISTORY])
        assert str(raised.value) == f"online store {pair.address.url}: {REFUSAL}"
        online.push([HISTORY])
