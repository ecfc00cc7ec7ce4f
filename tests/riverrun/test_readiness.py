"""A server is waited for from before it listens until it is ready, or until it has ended."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from riverrun.bench.server import free_port
from riverrun.readiness import wait_until_ready


@contextmanager
def answering(port: int, statuses: list[int]) -> Iterator[None]:
    """Answer each request with the next of `statuses`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop(0))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


def test_a_server_that_does_not_listen_yet_or_is_not_ready_is_waited_for() -> None:
    port = free_port()
    asked: list[bool] = []
    asking = threading.Event()

    def ended() -> bool:
        asked.append(True)
        if len(asked) == 2:  # It has asked once in vain.
            asking.set()
        return False

    ready: list[bool] = []
    waiting = threading.Thread(
        target=lambda: ready.append(wait_until_ready(f"http://127.0.0.1:{port}", ended))
    )
    waiting.start()
    assert asking.wait(30)
    statuses = [503, 503, 200]
    with answering(port, statuses):
        waiting.join(30)
    assert ready == [True]
    assert statuses == []


def test_one_that_has_ended_is_waited_for_no_longer() -> None:
    ends = iter([False, False, True])
    assert not wait_until_ready(f"http://127.0.0.1:{free_port()}", lambda: next(ends))
