"""A GET to an engine, for everything but requests: introspection, health, metrics.

One connection for each call, closed after it: a probe over a kept-alive connection would not notice
that nobody accepts any more, and SGLang closes idle ones after 5 s anyway. The answer's head and
framing are parsed by llhttp; its body is bounded.
"""

from __future__ import annotations

import asyncio
import enum
import ssl
import urllib.parse
from typing import NamedTuple, cast

import httptools
from cardan.errors import CardanError

# SGLang's /metrics reaches 270 KB with its usual labels; sixteen times that is no metrics.
MAX_BODY_BYTES = 4 * 1024 * 1024


class FetchFault(enum.StrEnum):
    """What kept an answer from coming."""

    UNREACHABLE = "unreachable"  # nobody accepted the connection
    TIMEOUT = "timeout"
    BROKEN = "broken"  # it was cut short or is not HTTP


class FetchError(CardanError):
    """No usable answer came."""

    def __init__(self, fault: FetchFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class Answer(NamedTuple):
    """Status and body of an answer."""

    status: int
    body: bytes


class Fetcher:
    """GETs with one set of headers; `tls_ca` signs the engines' certificates ("": the system's)."""

    def __init__(self, *, headers: tuple[tuple[str, str], ...] = (), tls_ca: str = "") -> None:
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._tls_ca = tls_ca
        self._tls: ssl.SSLContext | None = None

    async def get(self, origin: str, path: str, timeout_s: float) -> Answer:
        """GET `path` of `origin` (`http://host:port`); raises `FetchError`."""
        url = urllib.parse.urlsplit(origin)
        loop = asyncio.get_running_loop()
        head = (
            f"GET {path} HTTP/1.1\r\nhost: {url.netloc}\r\nuser-agent: cardan\r\n"
            f"accept: */*\r\nconnection: close\r\n{self._headers}\r\n"
        )
        exchange = _Exchange(head.encode("latin-1"), loop.create_future())
        try:
            async with asyncio.timeout(timeout_s):
                await loop.create_connection(
                    lambda: exchange,
                    url.hostname or "",
                    url.port or _port(url.scheme),
                    ssl=self._ssl(url),
                )
                return await exchange.answer
        except TimeoutError:
            raise FetchError(FetchFault.TIMEOUT, f"no answer within {timeout_s} s") from None
        except OSError as error:
            raise FetchError(FetchFault.UNREACHABLE, error.strerror or str(error)) from error
        finally:
            exchange.close()

    def _ssl(self, url: urllib.parse.SplitResult) -> ssl.SSLContext | None:
        if url.scheme != "https":
            return None
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._tls_ca or None)
        return self._tls


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


class _Exchange(asyncio.Protocol):
    """One request and its answer; doubles as llhttp's callbacks."""

    def __init__(self, request: bytes, answer: asyncio.Future[Answer]) -> None:
        self.answer = answer
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._sized = False
        self._head_seen = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"not HTTP: {error}")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head_seen and not self._sized and exc is None:
            self.on_message_complete()
        self._fail("the connection closed before the answer was complete")

    def close(self) -> None:
        """Drop the connection; what is unread is not wanted."""
        if self._transport is not None:
            self._transport.abort()
        if self.answer.done() and not self.answer.cancelled():
            self.answer.exception()  # retrieved: nobody may be waiting any more
        else:
            self.answer.cancel()

    def on_header(self, name: bytes, _value: bytes) -> None:
        """llhttp: one header."""
        self._sized |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        """llhttp: the head is complete."""
        self._head_seen = True

    def on_body(self, data: bytes) -> None:
        """llhttp: a piece of the body."""
        self._size += len(data)
        if self._size > MAX_BODY_BYTES:
            self._fail(f"the answer is over {MAX_BODY_BYTES} bytes")
            self.close()
            return
        self._body.append(data)

    def on_message_complete(self) -> None:
        """llhttp: the whole answer is there."""
        if not self.answer.done():
            self.answer.set_result(Answer(self._parser.get_status_code(), b"".join(self._body)))

    def _fail(self, message: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(FetchError(FetchFault.BROKEN, message))
