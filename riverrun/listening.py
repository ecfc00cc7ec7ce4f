"""The addresses that servers listen on, of IPv4 and IPv6, and why one cannot be listened on."""

import errno
import os
import socket

from riverrun.errors import UserError

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""The address that stands for all of the machine's, and the one by which it reaches itself."""


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens at the address; at `::`, for IPv4 too.

    Raises `UserError` where the address cannot be listened on.
    """
    try:
        family = family_of(host, port)
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=1024, dualstack_ipv6=both)
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


def url_of(listening: socket.socket) -> str:
    """Return the URL that a browser on this machine opens."""
    host, port = listening.getsockname()[:2]
    return f"http://{authority(EVERYWHERE.get(host, host), port)}"
