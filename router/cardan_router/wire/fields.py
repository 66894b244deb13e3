"""Header lines, read once and remembered.

Clients and engines repeat themselves: of the header lines of a request all but two or three have
been seen before, byte for byte. So a line's meaning is looked up, not worked out: one dictionary
access instead of splitting, checking, lowering and stripping.

What is remembered is bounded in number and size: a line is the sender's to choose. Credentials are
not remembered, or one caller's would stay in memory long after its request.

Every line that is passed on is made here (`FieldTable.passed`), and only of a name that is a token
and a value that ends no line: whatever the way a header came in, it is one header to an engine.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cardan.errors import CardanError

if TYPE_CHECKING:
    from collections.abc import Iterable

Field = tuple[str, str, str]
"""Lower-case name, value without surrounding blanks, and the line that is passed on (or "")."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
# What RFC 9110 §5.5 lets into a value: visible ASCII, blanks, tabs, and bytes above ASCII.
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
CREDENTIALS: Final = frozenset(
    {"authorization", "proxy-authorization", "x-api-key", "api-key", "cookie"}
)
# A hundred clients' usual lines. When it is full, most of it is lines that never come again.
MAX_LINES: Final = 2048
MAX_LINE_CHARS: Final = 160


class HeadError(CardanError):
    """A head that must not be read. `status` is the answer it deserves."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class FieldTable(dict[str, Field]):
    """Meanings of header lines in one direction, by the line as it came.

    Headers called one of `dropped`, or beginning with one of `prefixes`, are not passed on.
    Looking up a line that is no header raises `HeadError`.
    """

    def __init__(self, dropped: frozenset[str], prefixes: tuple[str, ...]) -> None:
        super().__init__()
        self._dropped = dropped
        self._prefixes = prefixes

    def __missing__(self, line: str) -> Field:
        written, colon, value = line.partition(":")
        if not colon:
            raise HeadError(400, "a header has no colon")
        name = written.lower()
        value = value.strip(" \t")
        field = (name, value, self.passed(name, value))
        if len(line) <= MAX_LINE_CHARS and name not in CREDENTIALS:
            if len(self) >= MAX_LINES:
                self.clear()
            self[line] = field
        return field

    def passed(self, name: str, value: str) -> str:
        """The line that is passed on for a header; "" if it stays here.

        Raises `HeadError` if the name is no token (a folded line, a blank before the colon) or the
        value could end the line.
        """
        if _TOKEN.fullmatch(name) is None:
            raise HeadError(400, "a header's name holds characters that are not allowed")
        if _VALUE.fullmatch(value) is None:
            raise HeadError(400, "a header's value holds characters that are not allowed")
        if name in self._dropped or name.startswith(self._prefixes):
            return ""
        return f"{name}: {value}\r\n"


def joined(fields: Iterable[Field], single: frozenset[str]) -> dict[str, str]:
    """Headers of which some are repeated; `HeadError` if one of `single` is."""
    headers: dict[str, str] = {}
    for name, value, _ in fields:
        if name not in headers:
            headers[name] = value
        elif name in single:
            raise HeadError(400, f"the header {name} is there twice")
        else:
            headers[name] = f"{headers[name]}{'; ' if name == 'cookie' else ', '}{value}"
    return headers
