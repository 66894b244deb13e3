"""Cut members out of a JSON object's text and leave every other byte as it was.

Parsing and writing anew would lose what a parser does not keep: digits of big numbers, duplicate
keys, escapes, white space. The text has been parsed once, so it is known to be valid JSON and its
keys and values can be found by their quotes and brackets. The result is parsed again and compared,
because a mistake here would let a control field through: this path is rare and may cost.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson
from cardan.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SCALAR = re.compile(rb"[^,}\]\s]+")
# A string, or one bracket: enough to find where a nested value ends.
_NESTING = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*")


def without_fields(
    body: bytes | bytearray | memoryview, fields: Mapping[str, object], names: Collection[str]
) -> bytes:
    """`body` without the top-level members called one of `names`, in any spelling.

    `fields` is what `body` parses to. Raises `RequestError` if the text cannot be cut safely.
    """
    text = bytes(body)
    kept = [text[start:end] for key, start, end in _members(text) if key not in names]
    result = b"{" + b",".join(kept) + b"}"
    wanted = {key: value for key, value in fields.items() if key not in names}
    try:
        if orjson.loads(result) == wanted:
            return result
    except (orjson.JSONDecodeError, RecursionError):  # parsing goes deeper than comparing
        pass
    raise RequestError("the body holds fields that cannot be removed from it", code="invalid_json")


def _members(text: bytes) -> Iterator[tuple[str, int, int]]:
    """Key, start and end of every top-level member of a valid JSON object."""
    at = _space(text, 0) + 1
    while True:
        start = _space(text, at)
        key = _STRING.match(text, start)
        if key is None:  # the closing brace of an empty object
            return
        colon = _space(text, key.end())
        end = _value_end(text, _space(text, colon + 1))
        yield str(orjson.loads(key.group())), start, end
        at = _space(text, end)
        if text[at : at + 1] != b",":
            return
        at += 1


def _space(text: bytes, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def _value_end(text: bytes, at: int) -> int:
    first = text[at : at + 1]
    if first == b'"':
        match = _STRING.match(text, at)
    elif first in (b"{", b"["):
        return _nested_end(text, at)
    else:
        match = _SCALAR.match(text, at)
    return at + 1 if match is None else match.end()


def _nested_end(text: bytes, at: int) -> int:
    depth = 0
    for match in _NESTING.finditer(text, at):
        token = match.group()
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
            if not depth:
                return match.end()
    return len(text)
