"""Heads of answers to clients."""

from __future__ import annotations

import email.utils
from http import HTTPStatus
from typing import TYPE_CHECKING

from cardan_router.calls import Passing

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}

# Headers of an engine's answer that are not passed on: those of one connection, those written anew,
# and whatever could name the engine or belong between it and us.
_PASSING = Passing(
    frozenset(
        {
            "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "trailer",
            "transfer-encoding", "upgrade", "content-length", "x-request-id",
            "server", "via", "date", "location", "content-location", "set-cookie", "alt-svc",
            "www-authenticate", "endpoint-load-metrics", "x-powered-by", "x-process-id",
            "access-control-allow-origin", "access-control-allow-credentials",
        }
    ),
    ("x-cardan-", "x-smg-", "x-envoy-", "x-forwarded-"),
)  # fmt: skip


class HttpDate:
    """The `Date` header's value, made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._line = ""

    def line(self, unix_s: float) -> str:
        """The header line for this second."""
        second = int(unix_s)
        if second != self._second:
            self._second = second
            self._line = f"date: {email.utils.formatdate(second, usegmt=True)}\r\n"
        return self._line


def status_line(status: int) -> str:
    """`HTTP/1.1 200 OK` and its line end; the phrase is the standard one."""
    return _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Status\r\n"


def passed_on(headers: Mapping[str, str]) -> str:
    """The header lines of an engine's answer that the client gets."""
    passing = _PASSING
    lines = [f"{passing[name]}{value}\r\n" for name, value in headers.items() if passing[name]]
    return "".join(lines)
