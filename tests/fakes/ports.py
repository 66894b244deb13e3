"""Ports that stay a test's own while nobody listens on them.

A port that was free a moment ago may be anybody's: the kernel gives it to the next who asks for
any. One that is bound stays, even if it never listens: connections to it are refused, and a server
that binds it by its number with SO_REUSEADDR, as servers do, may listen there and leave again.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def hold_port() -> socket.socket:
    """A port of 127.0.0.1, held until the socket is closed."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


def number_of(holder: socket.socket) -> int:
    """The number of a held port."""
    number: int = holder.getsockname()[1]
    return number


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """The number of a port that is held for a while."""
    with hold_port() as holder:
        yield number_of(holder)
