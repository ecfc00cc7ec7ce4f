"""The addresses that servers listen on, of IPv4 and IPv6, and why one cannot be listened on."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from riverrun.errors import UserError

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""The address that stands for all of the machine's, and the one by which it reaches itself."""


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that has the address, at `::` of IPv4 too, and to which nobody can connect.

    Whoever connected would wait for all that comes before the server answers, give up, and have
    what was asked done all the same. Raises `UserError` where the address cannot be had.
    """
    with _refusing(host, port), ExitStack() as stack:
        family = family_of(host, port)
        bound = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        # Of connections of a process that ended a moment ago, as of one that was started again.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            both = socket.has_dualstack_ipv6()
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
        bound.bind((host, port))
        stack.pop_all()
    return bound


def start_listening(bound: socket.socket) -> None:
    """Let clients connect; raises `UserError` where another process has come to listen there."""
    with _refusing(*bound.getsockname()[:2]):
        bound.listen()


@contextmanager
def _refusing(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except (OSError, OverflowError, UnicodeError) as error:
        raise refusal(host, port, error, "--port") from error


def family_of(host: str, port: int) -> socket.AddressFamily:
    """Return the family of the host's addresses: IPv4 where it has both. Raises `OSError`."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    families = [family for family, *_ in found]
    return socket.AF_INET if socket.AF_INET in families else families[0]


def refusal(host: str, port: int, error: Exception, option: str) -> UserError:
    """Return why the address cannot be listened on; `option` is the one that sets the port."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        reason = f"another process listens there, perhaps a Riverrun: stop it, or give {option}"
    elif number is not None and number > 0:
        reason = os.strerror(number)
    else:  # Of a name that is not found, in words of the resolver's.
        reason = getattr(error, "strerror", None) or str(error)
    return UserError(f"cannot listen on {authority(host, port)}: {reason}.")


def authority(host: str, port: int) -> str:
    """Return HOST:PORT as in a URL; an IPv6 host gets brackets unless it has them."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def url_of(bound: socket.socket) -> str:
    """Return the URL that a browser on this machine opens."""
    host, port = bound.getsockname()[:2]
    return f"http://{authority(EVERYWHERE.get(host, host), port)}"
