"""Heads of answers to clients."""

from __future__ import annotations

import email.utils
from http import HTTPStatus

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}


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
    """The first line of an answer whose status the standard does not know."""
    return f"HTTP/1.1 {status} Status\r\n"
