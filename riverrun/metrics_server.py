"""Prometheus metrics over HTTP, for a process that answers nothing else."""

import threading
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from riverrun.listening import family_of, refusal


class _QuietHandler(WSGIRequestHandler):
    """Logs no requests: a scraper asks every few seconds."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class MetricsServer(ThreadingWSGIServer):
    """Takes its address at once, before anything slow is done, and answers from `start` on.

    Raises `UserError` where the address cannot be listened on.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        try:
            self.address_family = family_of(host, port)
            super().__init__((host, port), _QuietHandler)
        except (OSError, UnicodeError) as error:
            raise refusal(host, port, error, "--metrics-port") from error
        self.set_app(make_wsgi_app(registry))

    def start(self) -> None:
        """Answer in a thread, until the process ends."""
        threading.Thread(target=self.serve_forever, name="metrics", daemon=True).start()
