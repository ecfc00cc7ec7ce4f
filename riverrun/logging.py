"""Structured logs: readable lines on a terminal, JSON lines elsewhere."""

import logging
import sys
from contextlib import suppress

import structlog
from structlog.tracebacks import ExceptionDictTransformer


class LineLogger(structlog.PrintLogger):
    """Writes lines if it can; if it cannot, for example on a full disk, the caller goes on.

    The reader at the other end of a pipe may be gone too, and a stream may be closed.
    """

    def msg(self, message: str) -> None:
        """Write a line, or nothing."""
        with suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


def configure_logging() -> None:
    """Write every log line to standard error, one event a line.

    Values of variables are left out of tracebacks: one may be a password, or somebody's id.
    """
    without_locals = ExceptionDictTransformer(show_locals=False)
    renderers: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if sys.stderr.isatty()
        else [
            structlog.processors.ExceptionRenderer(without_locals),
            structlog.processors.JSONRenderer(),
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Standard error is looked up when a line is written, so that a progress bar or a test that
        # has replaced it gets the line.
        logger_factory=lambda *_: LineLogger(sys.stderr),
    )
