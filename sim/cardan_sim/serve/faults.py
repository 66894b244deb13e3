"""Faults on demand: what `/faults` sets, and how a connection is treated badly.

The faults strike requests for work (and the probes and metrics where a field says so), never
`/faults` and `/sim` themselves.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

if TYPE_CHECKING:
    import asyncio

MetricsFault = Literal["wrong", "stale", "garbage", "missing", "error", "hang"]
Status = Annotated[int, msgspec.Meta(ge=500, le=599)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong now; the defaults are a healthy server.

    latency_s: every request for work waits so long first.
    error_rate: the share of requests for work answered with error_status.
    health_status: what /health and /ready answer; hang_health: they never do.
    hang: requests for work are read and never answered.
    close_before_head: the connection is closed instead of an answer; reset_before_head: reset.
    broken_head: the answer's first bytes are no HTTP.
    cut_after_tokens: a stream is reset after so many tokens.
    metrics: wrong lies (an idle engine), stale repeats the last page, garbage is no metrics page,
        missing is 404, error is 500, hang never answers.
    prefill_factor: prompts cost so much more.
    exit: the process dies at once.
    """

    latency_s: Seconds = 0.0
    error_rate: Share = 0.0
    error_status: Status = 503
    health_status: Status | None = None
    hang_health: bool = False
    hang: bool = False
    close_before_head: bool = False
    reset_before_head: bool = False
    broken_head: bool = False
    cut_after_tokens: Count | None = None
    metrics: MetricsFault | None = None
    prefill_factor: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0
    exit: bool = False


class CutError(ConnectionResetError):
    """A fault has cut the connection: there is nobody left to answer."""


def read_faults(raw: bytes, current: Faults | None) -> Faults:
    """Faults from a JSON body: all of them, or changes to `current`.

    msgspec.ValidationError names the field that is wrong.
    """
    changes = msgspec.json.decode(raw or b"{}")
    if current is not None and isinstance(changes, dict):
        changes = msgspec.to_builtins(current) | changes
    return msgspec.convert(changes, Faults)


def reset(transport: asyncio.BaseTransport | None) -> None:
    """Cut a connection with a RST, as a process that dies with unread data does."""
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        linger_0_s = struct.pack("ii", 1, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_0_s)
    _abort(transport)


def close(transport: asyncio.BaseTransport | None, last_words: bytes = b"") -> None:
    """Close a connection, perhaps after some bytes that are no answer."""
    if transport is None:
        return
    write = getattr(transport, "write", None)
    if last_words and write is not None:
        write(last_words)
    transport.close()


def _abort(transport: asyncio.BaseTransport) -> None:
    abort = getattr(transport, "abort", None)
    if abort is not None:
        abort()
    else:
        transport.close()


BROKEN_HEAD = b"HTP/1.1 2OO O\x00K\r\nContent-Length: minus one\r\n\r\n"
