"""Prometheus metrics over HTTP, of a process that answers nothing else."""

import socket
import threading
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from riverrun.errors import UserError


class _QuietHandler(WSGIRequestHandler):
    """Logs no requests: a scraper asks every few seconds."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class MetricsServer(ThreadingWSGIServer):
    """Takes its address at once, before anything slow is done, and answers from `start` on.

    Raises `UserError` where the address cannot be had.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            self.address_family = infos[0][0]
            super().__init__((host, port), _QuietHandler)
        except OSError as error:
            raise UserError(f"cannot listen on {host}:{port}: {error}.") from error
        self.set_app(make_wsgi_app(registry))

    def start(self) -> None:
        """Answer in a thread, until the process ends."""
        threading.Thread(target=self.serve_forever, name="metrics", daemon=True).start()
