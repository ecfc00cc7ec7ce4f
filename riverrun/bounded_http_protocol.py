"""HTTP/1.1 over one connection, for which the head of a request has a largest size and time."""

import asyncio
from asyncio import TimerHandle

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.http.problems import FieldError, Problem, problem_response

MAX_HEAD_BYTES = 64 * 2**10
"""Of the URL and the header lines of a request, and of the trailer lines behind its body."""
HEAD_SECONDS = 30.0
"""How long a client may take over it."""
LINGER_SECONDS = 1.0
"""How long the rest of what is refused is received. If it were not, the client's side would drop
the answer."""

_MESSAGE = f"must have at most {MAX_HEAD_BYTES} bytes."
_REFUSAL = problem_response(
    Problem(
        431,
        f"The URL and the headers {_MESSAGE}",
        [FieldError(field="headers", message=_MESSAGE)],
        {"Connection": "close"},
    )
)
_LINE_BYTES = len(b": \r\n")


class BoundedHttpProtocol(HttpToolsProtocol):
    """Answers 431, and closes the connection, above `MAX_HEAD_BYTES`.

    Uvicorn bounds neither. Its parser joins the pieces of a line as they come, so that the time
    for a long one, in which no other client is served, grows by the square of its length.
    """

    _pending = 0
    """Bytes received since a head, or a piece of a body, was complete."""
    _refused = False
    _timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._bound_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait."""
        super().connection_lost(exc)
        self._end_timer()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._refused:
            return
        self._pending += len(data)
        super().data_received(data)
        if self._pending > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse()
        else:
            self._bound_time()

    def on_headers_complete(self) -> None:
        """Start to answer the request."""
        self._pending = 0
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        # A head that came at once may be too large though little has come before.
        if size + _LINE_BYTES * (1 + len(self.headers)) > MAX_HEAD_BYTES:
            self.app = _REFUSAL
            self.url = b"/"  # a URL of 64 KiB cannot be parsed
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Hand a piece of the body to who reads it."""
        self._pending = 0
        super().on_body(body)

    def _bound_time(self) -> None:
        """Let the time run while a request is waited for, and none is being answered."""
        if self._answers():
            self._end_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _answers(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self) -> None:
        if self._answers():  # these are trailers, or the head of a further request
            self.transport.close()
            return
        lines = [name + b": " + value + b"\r\n" for name, value in _REFUSAL.raw_headers]
        self.transport.write(b"".join([STATUS_LINE[431], *lines, b"\r\n", _REFUSAL.body]))
        self.transport.write_eof()
        self._refused = True
        self._end_timer()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)
