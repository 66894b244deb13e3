"""Ends of connections that only a socket knows: a client that left unseen, a close by reset."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

# First byte of Linux's `tcp_info`: TCP_CLOSE after a reset, TCP_CLOSE_WAIT after a FIN.
_TCP_INFO = getattr(socket, "TCP_INFO", None)
_TCP_LEFT = (7, 8)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def has_left(transport: asyncio.Transport) -> bool:
    """Has the client left, although its socket is not read? Only the kernel can tell then."""
    if _TCP_INFO is None:
        return False
    sock = transport.get_extra_info("socket")
    return sock is None or sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] in _TCP_LEFT


def reset(transport: asyncio.Transport) -> None:
    """Close with a RST, which nobody takes for the end of a body."""
    sock = transport.get_extra_info("socket")
    if sock is not None:  # it is not closed already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
