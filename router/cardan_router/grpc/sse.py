"""Server-sent events out of the bytes of a stream.

Only what engines send is read: lines of `data:`, comments, and a blank line after each event. Lines
may end in LF, CRLF or CR LF split over two reads; one event may span several `data:` lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.errors import CardanError

if TYPE_CHECKING:
    from collections.abc import Iterator

# An event is one token's JSON. With 20 alternatives for each of a hundred tokens of a coalesced
# event it is some 200 KB; a megabyte without a line's end is no stream of events.
MAX_LINE_BYTES = 1 << 20


class StreamError(CardanError):
    """The engine's stream is not a stream of events."""


class EventReader:
    """Feed bytes, get the data of whole events."""

    __slots__ = ("_data", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """The data of every event that `data` completes. Raises `StreamError`."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_LINE_BYTES:
            raise StreamError("the engine's stream has an endless line")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                event, self._data = b"\n".join(self._data), []
                yield event
