"""Servers listen where they are told to, or say in one line why they cannot."""

import re
import socket
import threading
from pathlib import Path

import httpx
import pytest

from riverrun.cli.until_stopped import bind
from riverrun.errors import UserError
from riverrun.listening import authority, bound_socket, start_listening, url_of
from riverrun.settings import Settings
from tests.support.command import riverrun
from tests.support.tiny_bundle import build_tiny_bundle


def answer_once(listening: socket.socket) -> threading.Thread:
    def answer() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


IPV4 = [(host, "http://127.0.0.1") for host in ("127.0.0.1", "0.0.0.0", "", "localhost")]
IPV6 = [("::1", "http://[::1]"), ("::", "http://[::1]"), ("::", "http://127.0.0.1")]
HAS_IPV6 = Path("/proc/net/if_inet6")
"""Lists the addresses of a machine that has any."""


@pytest.mark.parametrize(
    ("host", "url"), [*IPV4, *(IPV6 if HAS_IPV6.exists() and HAS_IPV6.read_text() else [])]
)
def test_what_listens_answers_at_its_url(host: str, url: str) -> None:
    with bind(Settings(), host, 0) as listening:
        start_listening(listening)
        thread = answer_once(listening)
        port = listening.getsockname()[1]
        assert httpx.get(f"{url}:{port}", timeout=10).status_code == 204
        thread.join()
        assert url_of(listening) in {f"{url}:{port}", f"http://[::1]:{port}"}


@pytest.mark.parametrize("command", ["up", "serve"])
def test_a_port_that_is_taken_is_named_once_with_the_way_on(tmp_path: Path, command: str) -> None:
    build_tiny_bundle(tmp_path / "bundles")
    with bound_socket("127.0.0.1", 0) as taken:
        start_listening(taken)
        port = taken.getsockname()[1]
        done = riverrun(command, "--home", str(tmp_path), "--port", str(port))
    assert done.returncode == 2
    assert done.stderr == (
        f"riverrun: cannot listen on 127.0.0.1:{port}: another process listens there, perhaps a "
        "Riverrun: stop it, or give --port.\n"
    )


@pytest.mark.parametrize(
    ("host", "shown", "reason"),
    [
        ("203.0.113.1", "203.0.113.1:8080", "Cannot assign requested address."),
        ("no such host", "no such host:8080", "Name or service not known."),
        # As Python 3.11 says it, or 3.12.
        ("a..b", "a..b:8080", "(encoding with 'idna' codec failed|label empty or too long)"),
    ],
)
def test_a_host_that_is_not_this_machines_is_named(host: str, shown: str, reason: str) -> None:
    with pytest.raises(UserError) as raised:
        bound_socket(host, 8080)
    assert re.match(f"cannot listen on {re.escape(shown)}: {reason}", str(raised.value))
    assert str(raised.value).count("8080") == 1


def test_nobody_waits_for_a_server_that_only_starts() -> None:
    """What is sent and given up would be done once it answers, and once more when it is retried."""
    with bound_socket("127.0.0.1", 0) as bound:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(bound.getsockname(), timeout=10)
        start_listening(bound)
        socket.create_connection(bound.getsockname(), timeout=10).close()


def test_of_two_that_start_at_once_one_listens() -> None:
    with bound_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bound_socket("127.0.0.1", port) as second:
            start_listening(first)
            with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{port}: another"):
                start_listening(second)


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    assert authority("::1", 80) == authority("[::1]", 80) == "[::1]:80"
    assert authority("a.example", 80) == "a.example:80"
