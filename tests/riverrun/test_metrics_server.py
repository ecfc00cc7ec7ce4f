"""`riverrun stream --metrics-port`: its address is had before anything slow, or refused."""

import socket
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from riverrun.cli.stream import stream
from riverrun.errors import UserError
from riverrun.metrics_server import MetricsServer


def test_a_port_that_is_taken_is_the_users_error_before_anything_is_opened(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            UserError, match=f"cannot listen on 127.0.0.1:{port}: .* --metrics-port"
        ):
            stream(metrics_port=port, home=tmp_path / "shop")
    assert not (tmp_path / "shop").exists()


def test_an_address_that_is_not_this_machines_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot listen on 203\.0\.113\.1:0: "):
        stream(metrics_port=0, metrics_host="203.0.113.1", home=tmp_path)


def test_a_host_without_a_port_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--metrics-host 0.0.0.0: .* --metrics-port"):
        stream(metrics_host="0.0.0.0", home=tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_metrics_are_served_on_the_host_that_is_named(host: str) -> None:
    registry = CollectorRegistry()
    Counter("clicks", "Clicks.", registry=registry).inc(3)
    with MetricsServer(host, 0, registry) as server:
        server.start()
        try:
            answer = httpx.get(f"http://{host}:{server.server_port}/metrics", timeout=10)
            assert "clicks_total 3.0" in answer.text
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"http://127.0.0.3:{server.server_port}/metrics", timeout=10)
        finally:
            server.shutdown()
