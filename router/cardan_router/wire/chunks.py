"""Chunked bodies: the payload out of the framing, strictly.

A chunk is `SIZE[;extension] CRLF payload CRLF`; a chunk of size 0, optional trailer lines and an
empty line end the body. Sizes are hexadecimal digits and nothing else; lines end in CR LF; lines
are bounded. Extensions and trailers are read over: nobody here has a use for them.
"""

from __future__ import annotations

import re
from typing import Final

from cardan.errors import CardanError

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# `SIZE` of at most 15 digits (no 64-bit overflow), then extensions: `;name`, `;name=value`.
_PLAIN_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb'|"[ !#-\[\]-~]*"))?)*'
)
# A trailer that speaks of framing comes too late to be believed (RFC 9110 §6.5.1).
_TRAILER_LINE = re.compile(
    rb"(?!(?i:content-length|transfer-encoding|host|trailer):)"
    + _TOKEN
    + rb":[\t\x20-\x7e\x80-\xff]*"
)
# Sizes as they were written, looked up instead of read: tokens' events are of a few hundred sizes.
_SIZES: dict[bytes, int] = {}
_MAX_SIZES: Final = 4096
MAX_LINE_BYTES: Final = 4096
MAX_TRAILER_LINES: Final = 64
# Framing may outweigh the payload by this much, no more: a body of one-byte chunks costs a hundred
# times the processor time of the same bytes in one.
MAX_OVERHEAD_BYTES: Final = 65_536

_SIZE, _PAYLOAD, _PAYLOAD_END, _TRAILER, _DONE = range(5)


class ChunkError(CardanError):
    """Framing that must not be read."""


class ChunkReader:
    """Feed it bytes; it gives the payload.

    `done` is set by the end of the body; `rest` is then what came after it.
    """

    __slots__ = ("_need", "_overhead", "_partial", "_state", "_trailers", "done", "rest")

    def __init__(self) -> None:
        self._state = _SIZE
        self._need = 0
        self._partial = b""
        self._overhead = 0
        self._trailers = 0
        self.done = False
        self.rest = b""

    def whole(self, data: bytes) -> bytes:
        """The payload of `data` if that is one chunk, no more, no less, without extensions.

        Else nothing, and `data` is still to be fed. Engines write one chunk for each event, and it
        comes in one read: this is the way of almost all, without a loop or a list.
        """
        if self._state != _SIZE or self._partial:
            return b""
        end = data.find(b"\r\n", 0, 18)
        written = data[:end]
        size = _SIZES.get(written) or _plain_size(written)
        if size and end + size + 4 == len(data) and data.endswith(b"\r\n"):
            return data[end + 2 : -2]
        return b""

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`, which may be empty. Raises `ChunkError`."""
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._state == _PAYLOAD:
                piece = data[at : at + self._need]
                pieces.append(piece)
                at += len(piece)
                self._need -= len(piece)
                if not self._need:
                    self._state = _PAYLOAD_END
            else:
                at = self._line(data, at)
        if self.done:
            self.rest = data[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _line(self, data: bytes, at: int) -> int:
        """Take one line of framing, or the part of it that is there; returns where it ends."""
        end = data.find(b"\n", at)
        stop = len(data) if end < 0 else end + 1
        line = self._partial + data[at:stop]
        if len(line) > MAX_LINE_BYTES:
            raise ChunkError("a line of chunk framing is too long")
        if end < 0:
            self._check_partial(line)
            self._partial = line
            return stop
        self._partial = b""
        if not line.endswith(b"\r\n"):
            raise ChunkError("a line of chunk framing does not end in CR LF")
        self._take(line[:-2])
        return stop

    def _check_partial(self, line: bytes) -> None:
        """After a payload only CR LF can come: do not wait for a line end that may never come."""
        if self._state == _PAYLOAD_END and line != b"\r":
            raise ChunkError("a chunk is longer than its size")

    def _take(self, line: bytes) -> None:
        if self._state == _SIZE:
            self._take_size(line)
        elif self._state == _PAYLOAD_END:
            if line:
                raise ChunkError("a chunk is longer than its size")
            self._state = _SIZE
        elif not line:
            self._state = _DONE
            self.done = True
        else:
            self._trailers += 1
            if self._trailers > MAX_TRAILER_LINES or _TRAILER_LINE.fullmatch(line) is None:
                raise ChunkError("the trailer cannot be read")

    def _take_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise ChunkError("a chunk's size cannot be read")
        self._need = int(match[1], 16)
        self._overhead += len(line) + 4 - self._need
        if self._overhead > MAX_OVERHEAD_BYTES:
            raise ChunkError("there is more framing than payload")
        self._overhead = max(self._overhead, -MAX_OVERHEAD_BYTES)
        self._state = _PAYLOAD if self._need else _TRAILER


def _plain_size(written: bytes) -> int:
    """The size a line of digits and nothing else says; 0 if it is another line."""
    if _PLAIN_SIZE.fullmatch(written) is None:
        return 0
    if len(_SIZES) >= _MAX_SIZES:
        _SIZES.clear()
    size = _SIZES[written] = int(written, 16)
    return size


def chunk(payload: bytes) -> bytes:
    """One chunk; `payload` must not be empty, since an empty chunk ends the body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


LAST_CHUNK: Final = b"0\r\n\r\n"
