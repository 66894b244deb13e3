"""Heads of requests and answers.

A head is checked as a whole (control characters, line ends), then line by line. Names are looked up
in a table of names seen before, which makes the common case one dictionary access for each header.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cardan.errors import CardanError

if TYPE_CHECKING:
    from collections.abc import Mapping

Headers = dict[str, str]
"""Lower-case names, values without surrounding blanks; repeated ones joined by a comma."""

CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

# Everything a head may contain: visible ASCII, space, tab, line ends, and bytes above ASCII.
_ALLOWED = bytes([*b"\t\r\n", *range(0x20, 0x7F), *range(0x80, 0x100)])
_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_TARGET = re.compile(r"[!-\"$-~]+", re.ASCII)  # visible ASCII but `#`: fragments are not sent
_REQUEST_LINE = re.compile(r"([A-Z]{1,24}) (\S+) HTTP/([0-9])\.([0-9])", re.ASCII)
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?", re.ASCII)
# Sizes over 18 digits do not fit 64 bits, and no body is that long.
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
# A repetition of these has no meaning, or two meanings: the stuff of request smuggling.
_SINGLE = frozenset(
    {"host", "content-length", "transfer-encoding", "content-type", "authorization", "expect"}
)

_NAMES: dict[str, str] = {}
_MAX_NAMES = 2048
_MAX_NAME_CHARS = 64


class HeadError(CardanError):
    """A head that must not be read. `status` is the answer it deserves."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RequestHead:
    """A request's head. `length` is the body's size in bytes, or `CHUNKED`."""

    __slots__ = ("headers", "keep_alive", "length", "method", "minor", "path", "query", "target")

    def __init__(self, method: str, target: str, minor: int, headers: Headers) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.headers = headers
        self.length = _request_length(headers, minor)
        self.keep_alive = _keep_alive(headers, minor)
        path = target if target[0] == "/" else _origin_form(method, target)
        self.path, _, self.query = path.partition("?")


class AnswerHead:
    """An answer's head. `length` is the body's size, `CHUNKED` or `UNTIL_CLOSE`."""

    __slots__ = ("headers", "keep_alive", "length", "status")

    def __init__(
        self, status: int, headers: Headers, length: int, *, keep_alive: bool = True
    ) -> None:
        self.status = status
        self.headers = headers
        self.length = length
        self.keep_alive = keep_alive


def parse_request(data: bytes | bytearray, max_headers: int = 128) -> RequestHead:
    """A request's head from its bytes, without the empty line at its end. Raises `HeadError`."""
    lines = _lines(data, max_headers)
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise HeadError(400, "the request line is not METHOD TARGET HTTP/1.1")
    method, target, major, minor = match.groups()
    if major != "1" or minor not in "01":
        raise HeadError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method not in _METHODS:
        raise HeadError(501, "there is no such method")
    if _TARGET.fullmatch(target) is None:
        raise HeadError(400, "the request target holds characters that are not allowed")
    headers = _headers(lines)
    if minor == "1" and "host" not in headers:
        raise HeadError(400, "there is no Host header")
    return RequestHead(method, target, int(minor), headers)


def parse_answer(data: bytes | bytearray, max_headers: int = 256) -> AnswerHead:
    """An answer's head, likewise. Raises `HeadError` (its status means nothing here)."""
    lines = _lines(data, max_headers)
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None:
        raise HeadError(502, "the status line cannot be read")
    minor, status = int(match[1]), int(match[2])
    headers = _headers(lines)
    length = _answer_length(headers, status)
    keep_alive = length != UNTIL_CLOSE and _keep_alive(headers, minor)
    return AnswerHead(status, headers, length, keep_alive=keep_alive)


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


def _headers(lines: list[str]) -> Headers:
    headers: Headers = {}
    names = _NAMES
    for line in lines[1:]:
        written, colon, value = line.partition(":")
        name = names.get(written) or _learn(written)
        if not colon:
            raise HeadError(400, "a header has no colon")
        value = value.strip(" \t")
        headers[name] = value if name not in headers else _join(name, headers[name], value)
    return headers


def _learn(written: str) -> str:
    """The lower-case form of a name seen for the first time. Raises `HeadError` if it is none."""
    if _TOKEN.fullmatch(written) is None:  # also folded lines and blanks before the colon
        raise HeadError(400, "a header's name holds characters that are not allowed")
    name = written.lower()
    if len(_NAMES) < _MAX_NAMES and len(name) <= _MAX_NAME_CHARS:
        _NAMES[written] = name
    return name


def _join(name: str, first: str, second: str) -> str:
    if name in _SINGLE:
        raise HeadError(400, f"the header {name} is there twice")
    return f"{first}; {second}" if name == "cookie" else f"{first}, {second}"


def _request_length(headers: Mapping[str, str], minor: int) -> int:
    length = headers.get("content-length")
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            raise HeadError(400, "both Content-Length and Transfer-Encoding are given")
        if minor == 0:
            raise HeadError(400, "HTTP/1.0 has no Transfer-Encoding")
        if coding.lower() != "chunked":
            raise HeadError(501, "the only transfer coding is chunked")
        return CHUNKED
    return 0 if length is None else _sized(length)


def _answer_length(headers: Mapping[str, str], status: int) -> int:
    length = headers.get("content-length")
    coding = headers.get("transfer-encoding")
    if coding is not None and (length is not None or coding.lower() != "chunked"):
        raise HeadError(502, "the answer's framing is ambiguous")
    if status < 200 or status in (204, 304):
        return 0
    if coding is not None:
        return CHUNKED
    return UNTIL_CLOSE if length is None else _sized(length)


def _sized(length: str) -> int:
    if _LENGTH.fullmatch(length) is None:
        raise HeadError(400, "Content-Length is not a number")
    return int(length)


def _keep_alive(headers: Mapping[str, str], minor: int) -> bool:
    connection = headers.get("connection")
    if connection is None:
        return minor == 1
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
