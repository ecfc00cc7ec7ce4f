"""HTTP/1.1 over one connection, for which the head of a request has a largest size and time."""

import asyncio
import sys
from asyncio import TimerHandle

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from feature_repo.received import SHOWN
from serving.http.problems import FieldError, Problem, problem_response, shown

MAX_HEAD_BYTES = 64 * 2**10
"""Of the URL and the header lines of a request, and of the trailer lines behind its body."""
HEAD_SECONDS = 30.0
"""How long a client may take over it."""
LINGER_SECONDS = 1.0
"""How long the rest of what is refused is received. If it were not, the client's side would drop
the answer."""

_LINE_BYTES = len(b": \r\n")


class BoundedHttpProtocol(HttpToolsProtocol):
    """Answers 431 above `MAX_HEAD_BYTES`, 400 where it is no HTTP, and closes the connection.

    Uvicorn bounds neither size nor time, and answers what it cannot read by plain text. Its parser
    joins the pieces of a line as they come, so that the time for a long one, in which no other
    client is served, grows by the square of its length.
    """

    _pending = 0
    """Bytes received since a head, or a piece of a body, was complete or was refused."""
    _latest = b""
    """What was received last, as far as an answer repeats it."""
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
        self._latest = data[: SHOWN + 1]
        super().data_received(data)
        if self._pending > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(_too_large(self._pending))
        else:
            self._bound_time()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser cannot read; Uvicorn calls this where it handles the error."""
        self._refuse(_malformed(f"{msg} {sys.exception()}.", self._latest.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """Start to answer the request."""
        self._pending = 0
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        # A head that came at once may be too large though little has come before.
        size += _LINE_BYTES * (1 + len(self.headers))
        if size > MAX_HEAD_BYTES:
            self.app = _too_large(size)
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
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.disconnected

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, refusal: Response) -> None:
        if self._answers():
            if self.pipeline or self.cycle.response_started or not self.cycle.more_body:
                # It would be taken for the answer to a request that was received whole.
                self.transport.close()
                return
            # To who reads the body, this is as if the client had hung up.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        lines = [name + b": " + value + b"\r\n" for name, value in refusal.raw_headers]
        self.transport.write(
            b"".join([STATUS_LINE[refusal.status_code], *lines, b"\r\n", bytes(refusal.body)])
        )
        self.transport.write_eof()
        self._refused = True
        self._pending = 0
        self._end_timer()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)


def _too_large(size: int) -> Response:
    message = f"must have at most {MAX_HEAD_BYTES} bytes."
    return _refusal(431, f"The URL and the headers {message}", "headers", message, size)


def _malformed(reason: str, received: str) -> Response:
    return _refusal(400, reason, "request", "must be HTTP/1.1.", shown(received))


def _refusal(status: int, detail: str, field: str, message: str, value: object) -> Response:
    errors = [FieldError(field=field, message=message, value=value)]
    return problem_response(Problem(status, detail, errors, {"Connection": "close"}))
