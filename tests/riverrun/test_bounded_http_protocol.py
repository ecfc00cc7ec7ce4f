"""The head of a request has a largest size and time; bodies and answers take what they take."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator

import orjson
import pytest
from fastapi import FastAPI, Request

from riverrun import bounded_http_protocol
from riverrun.bounded_http_protocol import MAX_HEAD_BYTES
from riverrun.http_server import HttpServer

pytestmark = pytest.mark.timeout(120)

SECONDS = 30.0


class Served:
    """A server that answers with the length of the body, once it may."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.stopped = threading.Event()
        self.app = FastAPI()
        self.app.add_api_route("/{path:path}", self.answer, methods=["GET", "POST"])
        self.listening = socket.create_server(("127.0.0.1", 0))

    async def answer(self, request: Request) -> int:
        size = len(await request.body())
        while not self.may_answer.is_set():
            await asyncio.sleep(0.01)
        return size

    def run(self) -> None:
        HttpServer(self.app, self.stopped.is_set).run(sockets=[self.listening])

    def connect(self) -> socket.socket:
        return socket.create_connection(self.listening.getsockname(), timeout=SECONDS)


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    thread = threading.Thread(target=served.run)
    thread.start()
    yield served
    served.may_answer.set()
    served.stopped.set()
    thread.join()
    served.listening.close()


@pytest.fixture
def connected(served: Served) -> Iterator[socket.socket]:
    with served.connect() as connected:
        yield connected


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the time for a head one that can be waited for."""
    monkeypatch.setattr(bounded_http_protocol, "HEAD_SECONDS", 0.3)


def answer_of(connected: socket.socket) -> tuple[int, bytes]:
    """Return status and body of the next answer."""
    answer = connected.makefile("rb")
    status = int(answer.readline().split()[1])
    headers = dict(line.strip().lower().split(b": ") for line in iter(answer.readline, b"\r\n"))
    body = answer.read(int(headers[b"content-length"]))
    if status != 200:
        assert headers[b"content-type"] == b"application/problem+json"
        assert orjson.loads(body)["errors"][0]["field"] == {400: "request", 431: "headers"}[status]
        assert answer.read() == b""
    return status, body


def is_closed(connected: socket.socket) -> bool:
    """Wait until the other side has closed, without a word."""
    return connected.recv(1) == b""


def send_without_end(connected: socket.socket) -> None:
    while True:
        connected.sendall(b"x" * 2**20)


def one_line(size: int) -> bytes:
    return b"GET / HTTP/1.1\r\nX: " + b"x" * (size - len("/\r\n\r\nX: \r\n")) + b"\r\n\r\n"


def many_lines(size: int) -> bytes:
    lines = size // 16 - 2
    rest = size - len("/\r\n\r\n") - 16 * lines - len("X: \r\n")
    return (
        b"GET / HTTP/1.1\r\n" + b"X: 34567890123\r\n" * lines + b"X: " + b"x" * rest + b"\r\n\r\n"
    )


def url(size: int) -> bytes:
    return b"GET /" + b"x" * (size - len("/\r\n\r\n")) + b" HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("above", [1, MAX_HEAD_BYTES])
@pytest.mark.parametrize("head", [one_line, many_lines, url])
@pytest.mark.parametrize("piece", [1_000, 2**30], ids=["in pieces", "at once"])
def test_a_head_above_the_limit_is_refused_however_it_is_sent(
    connected: socket.socket, head: Callable[[int], bytes], piece: int, above: int
) -> None:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Twice: what has been answered does not count any more.
    for more, status in ((0, 200), (0, 200), (above, 431)):
        sent = head(MAX_HEAD_BYTES + more)
        for start in range(0, len(sent), piece):
            connected.sendall(sent[start : start + piece])
        answered, body = answer_of(connected)
        assert answered == status
    size = orjson.loads(body)["errors"][0]["value"]
    assert MAX_HEAD_BYTES < size <= MAX_HEAD_BYTES + above


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"garbage\r\n\r\n", "Invalid method"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", "Invalid method"),  # TLS
        (b"GET / HTTP/9.9\r\n\r\n", "Invalid HTTP version"),
        (b"GET /\xff HTTP/1.1\r\n\r\n", "Invalid char in url"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", "Invalid header"),
        (b"GET / HTTP/1.1\r\nContent-Length: two\r\n\r\n", "Content-Length"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\ntwo\r\n", "chunk size"),
        (b"garbage " + b"x" * 4 * MAX_HEAD_BYTES, "Invalid method"),
    ],
    ids=["method", "tls", "version", "url", "header", "length", "chunk", "large"],
)
@pytest.mark.parametrize("before", [0, 1])
def test_what_is_no_http_is_refused_by_a_problem_document(
    connected: socket.socket, sent: bytes, reason: str, before: int
) -> None:
    for _ in range(before):
        connected.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert answer_of(connected) == (200, b"0")
    connected.sendall(sent)
    status, body = answer_of(connected)
    problem = orjson.loads(body)
    assert status == problem["status"] == 400
    assert reason in problem["detail"]
    assert problem["errors"][0]["value"][:7] in sent.decode("latin-1")


def test_what_is_no_http_is_no_line_of_the_log(
    capfd: pytest.CaptureFixture[str], served: Served
) -> None:
    with served.connect() as connected:
        connected.sendall(b"garbage\r\n\r\n")
        assert answer_of(connected)[0] == 400
    assert capfd.readouterr().err == ""


def test_what_is_no_http_is_not_taken_for_the_answer_to_what_came_before(served: Served) -> None:
    served.may_answer.clear()
    with served.connect() as connected:
        connected.sendall(b"GET / HTTP/1.1\r\n\r\ngarbage\r\n\r\n")
        assert is_closed(connected)


@pytest.mark.parametrize(
    "begin",
    [
        b"GET / HTTP/1.1\r\nX: ",
        b"GET /",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: ",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=",
    ],
    ids=["header", "url", "trailer", "chunk"],
)
def test_a_line_without_end_is_cut_off(served: Served, begin: bytes) -> None:
    with served.connect() as endless:
        endless.sendall(begin)
        with pytest.raises(OSError, match=r"reset|pipe"):
            send_without_end(endless)
    with served.connect() as other:
        other.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert answer_of(other) == (200, b"0")


def test_a_body_is_no_part_of_the_head(connected: socket.socket) -> None:
    size = 40 * MAX_HEAD_BYTES
    for _ in range(2):
        head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size
        connected.sendall(head + b"x" * size)
        assert answer_of(connected) == (200, b"%d" % size)
    chunk = b"%x\r\n%s\r\n" % (16, b"x" * 16)
    connected.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    connected.sendall(chunk * (size // 16) + b"0\r\n\r\n")
    assert answer_of(connected) == (200, b"%d" % size)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nContent-Length: 2\r\n"])
def test_half_a_head_is_not_waited_for_without_end(served: Served, sent: bytes) -> None:
    with served.connect() as first:
        first.sendall(sent)
        assert is_closed(first)
    with served.connect() as second:
        second.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert answer_of(second)[0] == 200
        second.sendall(sent or b"\r\n")
        assert is_closed(second)


@pytest.mark.usefixtures("short")
def test_a_body_and_an_answer_may_take_longer_than_a_head(served: Served) -> None:
    served.may_answer.clear()
    with served.connect() as uploading, served.connect() as waiting:
        uploading.sendall(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab")
        waiting.sendall(b"GET / HTTP/1.1\r\n\r\n")
        for _ in range(2):
            with served.connect() as silent:
                assert is_closed(silent)
        uploading.sendall(b"cd")
        served.may_answer.set()
        assert answer_of(uploading) == (200, b"4")
        assert answer_of(waiting) == (200, b"0")
