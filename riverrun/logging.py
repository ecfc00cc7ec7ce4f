"""Structured logs: readable lines on a terminal, JSON lines elsewhere."""

import logging
import sys

import structlog


def configure_logging() -> None:
    """Write every log line to standard error, one event a line."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Standard error as it is when a line is written: whoever has put another in its place,
        # such as a progress bar or a test, gets the line.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
