"""Requests that come in pieces: heads until they are whole, bodies up to their limit."""

from __future__ import annotations

from cardan.errors import RequestError

from cardan_router.wire.chunks import ChunkError, ChunkReader
from cardan_router.wire.fields import HeadError
from cardan_router.wire.heads import CHUNKED, is_hopeless


class PartialHead:
    """The beginning of a head. `data` is what has come, `end` where it ends, or -1."""

    __slots__ = ("_limit", "data", "end")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.data = bytearray()
        self.end = -1

    def add(self, data: bytes) -> None:
        """More has come. Raises `HeadError` as soon as no head can come of it."""
        known = len(self.data)
        self.data += data
        self.end = self.data.find(b"\r\n\r\n", max(0, known - 3))
        if max(self.end, 0 if self.end >= 0 else len(self.data)) > self._limit:
            raise HeadError(431, f"the head is over {self._limit} bytes")
        if self.end < 0:
            start = max(0, known - 1)  # with the last byte before: CR LF may come in two reads
            if known and self.data[start] == 10:  # that was the end of a line that has been seen
                start += 1
            if is_hopeless(self.data[start:]):
                raise HeadError(400, "this is not HTTP/1.1")


class BodyReader:
    """A body on its way, of `length` bytes or `CHUNKED`. `body` is what has come of it.

    It grows with what comes, never with what is announced, so an announcement costs nothing.
    """

    __slots__ = ("_chunks", "_length", "_limit", "body")

    def __init__(self, length: int, limit: int) -> None:
        self._length = length
        self._limit = limit
        self._chunks = ChunkReader() if length == CHUNKED else None
        self.body = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        """What follows the body once it is complete, None until then. Raises `RequestError`."""
        body = self.body
        chunks = self._chunks
        if chunks is None:
            missing = self._length - len(body)
            body += data if len(data) <= missing else data[:missing]
            return None if len(data) < missing else data[missing:]
        try:
            body += chunks.feed(data)
        except ChunkError as error:
            raise RequestError(str(error), code="bad_chunk") from None
        if len(body) > self._limit:
            raise RequestError(f"the body is over {self._limit} bytes", code="request_too_large")
        return chunks.rest if chunks.done else None
