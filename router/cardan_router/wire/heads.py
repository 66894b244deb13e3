"""Heads of requests and answers.

A head is checked as a whole (control characters, line ends), then its lines are looked up in a
`FieldTable`, which knows most of them from before. And since most heads differ from the one before
in the digits of their Content-Length alone, what is left of a head without these is looked up
first (`_REQUESTS`, `_ANSWERS`); then nothing else need be looked at again. Heads with credentials
are not remembered.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

from cardan.value import Value

from cardan_router.wire.fields import CREDENTIALS, HeadError, joined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cardan_router.wire.fields import FieldTable

_K = TypeVar("_K")
_V = TypeVar("_V")

Headers = dict[str, str]
"""Lower-case names, values without surrounding blanks; repeated ones joined by a comma."""

CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

# Everything a head may contain: visible ASCII, space, tab, line ends, and bytes above ASCII.
_ALLOWED = bytes([*b"\t\r\n", *range(0x20, 0x7F), *range(0x80, 0x100)])
_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
)
_TARGET = re.compile(r"[!-\"$-~]+", re.ASCII)  # visible ASCII but `#`: fragments are not sent
_REQUEST_LINE = re.compile(r"([A-Z]{1,24}) (\S+) HTTP/([0-9])\.([0-9])", re.ASCII)
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?", re.ASCII)
# Sizes over 18 digits do not fit 64 bits, and no body is that long.
_MAX_LENGTH_DIGITS = 18
# A repetition of these has no meaning, or two meanings: the stuff of request smuggling.
_SINGLE = frozenset(
    {"host", "content-length", "transfer-encoding", "content-type", "authorization", "expect"}
)
_LENGTH = b"\r\ncontent-length: "
_LENGTH_END = b"ength: "
_MAX_TEMPLATES: Final = 512
_MAX_TEMPLATE_BYTES: Final = 2048
# First lines repeat themselves even more than headers do: a path for each API, a status each.
_MAX_FIRST_LINES: Final = 512
_MAX_FIRST_LINE_CHARS: Final = 160

_RequestLine = tuple[str, str, int, str, str]
_REQUEST_LINES: dict[str, _RequestLine] = {}
_STATUS_LINES: dict[str, tuple[int, int]] = {}


class RequestHead(Value):
    """A request's head. `length` is the body's size in bytes, or `CHUNKED`.

    `headers` has all but `content-length`; heads share it, so it must not be changed. `passed` are
    the header lines that an engine may see.
    """

    method: str
    target: str
    minor: int
    path: str
    query: str
    headers: Headers
    passed: str
    length: int
    keep_alive: bool


class AnswerHead(Value):
    """An answer's head. `length` is the body's size, `CHUNKED` or `UNTIL_CLOSE`.

    `headers` as in `RequestHead`; `passed` are the header lines that a client may see.
    """

    status: int
    headers: Headers
    length: int
    passed: str
    keep_alive: bool


_Request = tuple[_RequestLine, Headers, str, bool]
_Answer = tuple[int, Headers, str, bool]
_REQUESTS: dict[tuple[bytes, bytes], _Request] = {}
_ANSWERS: dict[tuple[bytes, bytes], _Answer] = {}


def parse_request(data: bytes, table: FieldTable, max_headers: int = 128) -> RequestHead:
    """A request's head from its bytes, without the empty line at its end. Raises `HeadError`."""
    start = data.find(_LENGTH_END) + 7
    end = data.find(b"\r\n", start)
    if end < 0:
        end = len(data)
    template = (data[:start], data[end:])
    known = _REQUESTS.get(template)
    if known is not None:
        digits = data[start:end]
        if digits.isdigit() and len(digits) <= _MAX_LENGTH_DIGITS:
            (method, target, minor, path, query), headers, passed, keep_alive = known
            return RequestHead(
                method, target, minor, path, query, headers, passed, int(digits), keep_alive
            )
    lines = _lines(data, max_headers)
    line = _REQUEST_LINES.get(lines[0]) or _read_request_line(lines[0])
    headers, passed = _read_fields(lines, table)
    minor = line[2]
    if minor == 1 and "host" not in headers:
        raise HeadError(400, "there is no Host header")
    keep_alive = (
        _keep_alive(headers["connection"], minor) if "connection" in headers else minor == 1
    )
    length = _request_length(headers, minor)
    if length >= 0 and _is_template(data, start) and CREDENTIALS.isdisjoint(headers):
        _remember(_REQUESTS, template, (line, headers, passed, keep_alive), _MAX_TEMPLATES)
    return RequestHead(*line, headers, passed, length, keep_alive)


def parse_answer(data: bytes, table: FieldTable, max_headers: int = 256) -> AnswerHead:
    """An answer's head, likewise. Raises `HeadError` (its status means nothing here)."""
    start = data.find(_LENGTH_END) + 7
    end = data.find(b"\r\n", start)
    if end < 0:
        end = len(data)
    template = (data[:start], data[end:])
    known = _ANSWERS.get(template)
    if known is not None:
        digits = data[start:end]
        if digits.isdigit() and len(digits) <= _MAX_LENGTH_DIGITS:
            status, headers, passed, keep_alive = known
            return AnswerHead(status, headers, int(digits), passed, keep_alive)
    lines = _lines(data, max_headers)
    minor, status = _STATUS_LINES.get(lines[0]) or _read_status_line(lines[0])
    headers, passed = _read_fields(lines, table)
    keep_alive = (
        _keep_alive(headers["connection"], minor) if "connection" in headers else minor == 1
    )
    length = _answer_length(headers, status)
    keep_alive = keep_alive and length != UNTIL_CLOSE
    if length > 0 and _is_template(data, start):
        _remember(_ANSWERS, template, (status, headers, passed, keep_alive), _MAX_TEMPLATES)
    return AnswerHead(status, headers, length, passed, keep_alive)


def _is_template(data: bytes, start: int) -> bool:
    """Is what begins at `start` the value of Content-Length, and nothing else?"""
    name_at = start - len(_LENGTH)
    return (
        name_at > 0 and data[name_at:start].lower() == _LENGTH and len(data) <= _MAX_TEMPLATE_BYTES
    )


def _read_fields(lines: list[str], table: FieldTable) -> tuple[Headers, str]:
    """The headers in all lines but the first, and the lines that are passed on."""
    fields = [table[line] for line in lines[1:]]
    headers = {name: value for name, value, _ in fields}
    if len(headers) != len(fields):
        headers = joined(fields, _SINGLE)
    return headers, "".join([passed for _, _, passed in fields])


def is_hopeless(data: bytes | bytearray) -> bool:
    """Can no head begin like this? Looked at before the head is complete, to answer at once."""
    ends = data.count(b"\r\n")
    lone_cr = data.count(b"\r") - ends
    if data.endswith(b"\r"):
        lone_cr -= 1
    return bool(lone_cr) or data.count(b"\n") != ends or bool(data.translate(None, _ALLOWED))


def _lines(data: bytes | bytearray, max_headers: int) -> list[str]:
    if data.translate(None, _ALLOWED):
        raise HeadError(400, "there is a control character in the head")
    lines = data.decode("latin-1").split("\r\n")
    ends = len(lines) - 1
    if data.count(b"\n") != ends or data.count(b"\r") != ends:
        raise HeadError(400, "a line of the head does not end in CR LF")
    if ends > max_headers:
        raise HeadError(431, f"there are more than {max_headers} headers")
    return lines


def _read_request_line(line: str) -> _RequestLine:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise HeadError(400, "the request line is not METHOD TARGET HTTP/1.1")
    method, target, major, minor = match.groups()
    if major != "1" or minor not in "01":
        raise HeadError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method not in _METHODS:
        raise HeadError(501, "there is no such method")
    if _TARGET.fullmatch(target) is None:
        raise HeadError(400, "the request target holds characters that are not allowed")
    origin_form = target if target[0] == "/" else _origin_form(method, target)
    path, _, query = origin_form.partition("?")
    read = (method, target, int(minor), path, query)
    if len(line) <= _MAX_FIRST_LINE_CHARS:
        _remember(_REQUEST_LINES, line, read, _MAX_FIRST_LINES)
    return read


def _read_status_line(line: str) -> tuple[int, int]:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise HeadError(502, "the status line cannot be read")
    read = (int(match[1]), int(match[2]))
    if len(line) <= _MAX_FIRST_LINE_CHARS:
        _remember(_STATUS_LINES, line, read, _MAX_FIRST_LINES)
    return read


def _remember(table: dict[_K, _V], key: _K, read: _V, limit: int) -> None:
    """Keep what was read; a full table is mostly heads that never come again, so it begins anew."""
    if len(table) >= limit:
        table.clear()
    table[key] = read


def _request_length(headers: Headers, minor: int) -> int:
    if "transfer-encoding" in headers:
        return _coded_length(headers, minor)
    return _sized(headers.pop("content-length")) if "content-length" in headers else 0


def _coded_length(headers: Mapping[str, str], minor: int) -> int:
    if "content-length" in headers:
        raise HeadError(400, "both Content-Length and Transfer-Encoding are given")
    if minor == 0:
        raise HeadError(400, "HTTP/1.0 has no Transfer-Encoding")
    if headers["transfer-encoding"].lower() != "chunked":
        raise HeadError(501, "the only transfer coding is chunked")
    return CHUNKED


def _answer_length(headers: Headers, status: int) -> int:
    if "transfer-encoding" in headers:
        if "content-length" in headers or headers["transfer-encoding"].lower() != "chunked":
            raise HeadError(502, "the answer's framing is ambiguous")
        length = CHUNKED
    elif "content-length" in headers:
        length = _sized(headers.pop("content-length"))
    else:
        length = UNTIL_CLOSE
    return 0 if status < 200 or status in (204, 304) else length


def _sized(length: str) -> int:
    if not (length.isascii() and length.isdecimal() and len(length) <= _MAX_LENGTH_DIGITS):
        raise HeadError(400, "Content-Length is not a number")
    return int(length)


def _keep_alive(connection: str, minor: int) -> bool:
    tokens = {token.strip() for token in connection.lower().split(",")}
    return "close" not in tokens and (minor == 1 or "keep-alive" in tokens)


def _origin_form(method: str, target: str) -> str:
    """The path of a target that is not one: `*` and `http://host/path` have a meaning."""
    if target == "*" and method == "OPTIONS":
        return "*"
    scheme, separator, rest = target.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        authority, slash, path = rest.partition("/")
        if authority and not any(c in authority for c in "?@"):
            return slash + path or "/"
    raise HeadError(400, "the request target is not a path")
