"""Listening sockets: taken ports are one clear sentence, workers share theirs."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from cardan.errors import CardanError

if TYPE_CHECKING:
    from cardan_router.config import Address

# As many connections may wait for `accept` as the kernel allows (net.core.somaxconn caps it).
BACKLOG = 4096


class ListenError(CardanError):
    """Nothing can listen there."""


def bind(address: Address, *, share: bool = False) -> socket.socket:
    """A bound TCP socket, not listening yet; `share` lets other processes of ours bind it too.

    Raises `ListenError` with a sentence for the operator.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ListenError(f"{address} is taken by another process") from error
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    return listener


def reserve(address: Address) -> socket.socket:
    """Hold an address for workers that will share it, after checking that it is nobody else's."""
    if address.port:
        probe = bind(address)
        try:
            probe.listen(1)  # binding alone succeeds beside sockets that share the port
        except OSError as error:
            raise ListenError(f"{address} is taken by another process") from error
        finally:
            probe.close()
    return bind(address, share=True)


def port_of(listener: socket.socket) -> int:
    """The port the kernel gave."""
    port: int = listener.getsockname()[1]
    return port
