"""A GET to an engine, for everything but requests: introspection, health, metrics; and a POST to
whoever else is to be told something.

The connection is kept for the next call, since a fresh one is most of what a probe costs both sides
(0.3 ms of an idle gateway's 0.4). None of what a fresh one would notice is lost:

- An engine that dies or stops closes its connections, so the next call dials, and is refused.
- One that broke before a byte of the answer came had been closed unseen, most likely for having
  been idle: the call is made once more on a fresh connection, and only that one counts.
- Nobody accepting any more behind a connection that still works, or a name that has moved, shows
  when the connection is `MAX_AGE_S` old at the latest, for then it is not used again.
- A connection that dies silently costs one call its time-out, and is gone with it. Health wants
  several failures in a row (`cardan.health`), and those after it are on fresh connections.

One connection is kept for each origin, none for longer than engines keep idle ones. The answer's
head and framing are parsed by llhttp; its body is bounded.
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
# vLLM and SGLang (uvicorn) close connections that were idle for 5 s.
MAX_IDLE_S = 4.0
# One call in ten or so dials and shows that somebody still accepts.
MAX_AGE_S = 10.0
# Probes and scrapes make 200 visits a second at most (`max_per_s`), so of a fleet of more than 800
# nobody is visited again within `MAX_IDLE_S`, and a kept connection would have been for nothing.
MAX_KEPT = 1024
FIRST_FINAL = 200
TEMPORARY_REDIRECT = 307


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


class _StaleError(CardanError):
    """A kept connection had been closed by the other side."""


class Answer(NamedTuple):
    """Status and body of an answer."""

    status: int
    body: bytes


class Fetcher:
    """Calls with one set of headers; `tls_ca` signs the others' certificates ("": the system's)."""

    def __init__(self, *, headers: tuple[tuple[str, str], ...] = (), tls_ca: str = "") -> None:
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._tls_ca = tls_ca
        self._tls: ssl.SSLContext | None = None
        self._kept: dict[str, _Line] = {}  # by origin, the one used last at the end
        self._closed = False

    async def get(self, origin: str, path: str, timeout_s: float) -> Answer:
        """GET `path` of `origin` (`http://host:port`); raises `FetchError`."""
        answer, _ = await self._call(origin, f"GET {path}", b"", timeout_s)
        return answer

    async def post(self, url: str, body: bytes, timeout_s: float) -> Answer:
        """POST JSON to `url`, and to where it is sent on to (307), once; raises `FetchError`.

        What is posted must be harmless if it comes twice: a kept connection may break.
        """
        origin, path = _split(url)
        answer, location = await self._call(origin, f"POST {path}", body, timeout_s)
        if answer.status == TEMPORARY_REDIRECT and location:
            origin, path = _split(location, url)
            answer, _ = await self._call(origin, f"POST {path}", body, timeout_s)
        return answer

    async def _call(
        self, origin: str, what: str, body: bytes, timeout_s: float
    ) -> tuple[Answer, str]:
        """The answer, and where it sends on to."""
        try:
            url = urllib.parse.urlsplit(origin)
            request = self._request(url.netloc, what, body)
            async with asyncio.timeout(timeout_s):
                kept = self._take(origin)
                if kept is not None:
                    try:
                        return await self._ask(kept, origin, request), kept.location
                    except _StaleError:
                        pass
                line = await self._dial(url)
                return await self._ask(line, origin, request), line.location
        except TimeoutError:
            raise FetchError(FetchFault.TIMEOUT, f"no answer within {timeout_s} s") from None
        except OSError as error:
            raise FetchError(FetchFault.UNREACHABLE, error.strerror or str(error)) from error
        except ValueError as error:  # a port or a name that cannot be any, other than Latin letters
            raise FetchError(FetchFault.UNREACHABLE, f"{origin!r}: {error}") from error

    def _request(self, host: str, what: str, body: bytes) -> bytes:
        sized = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n" if body else ""
        head = (
            f"{what} HTTP/1.1\r\nhost: {host}\r\nuser-agent: cardan\r\n"
            f"accept: */*\r\n{sized}{self._headers}\r\n"
        )
        return head.encode("latin-1") + body

    def forget(self, origin: str) -> None:
        """The engine there has left: keep no connection to it."""
        kept = self._kept.pop(origin, None)
        if kept is not None:
            kept.close()

    def close(self) -> None:
        """Close what is kept, and keep nothing from now on."""
        self._closed = True
        for origin in list(self._kept):
            self.forget(origin)

    async def _ask(self, line: _Line, origin: str, request: bytes) -> Answer:
        try:
            answer = await line.ask(request)
        except BaseException:
            line.close()
            raise
        self._keep(origin, line)
        return answer

    def _take(self, origin: str) -> _Line | None:
        """The kept connection, if it is still good for a call; its caller owns it then."""
        kept = self._kept.pop(origin, None)
        if kept is None or kept.is_good(asyncio.get_running_loop().time()):
            return kept
        kept.close()
        return None

    def _keep(self, origin: str, line: _Line) -> None:
        now = asyncio.get_running_loop().time()
        line.idle_since = now
        while self._kept:  # whoever is asked seldom is not kept for nothing
            oldest, kept = next(iter(self._kept.items()))
            if kept.is_good(now):
                break
            self.forget(oldest)
        # One that is kept already is as good; making room for this would only dial elsewhere.
        full = len(self._kept) >= MAX_KEPT or origin in self._kept
        if full or self._closed or not line.is_good(now):
            line.close()
        else:
            self._kept[origin] = line

    async def _dial(self, url: urllib.parse.SplitResult) -> _Line:
        _, line = await asyncio.get_running_loop().create_connection(
            _Line, url.hostname or "", url.port or _port(url.scheme), ssl=self._ssl(url)
        )
        return line

    def _ssl(self, url: urllib.parse.SplitResult) -> ssl.SSLContext | None:
        if url.scheme != "https":
            return None
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._tls_ca or None)
        return self._tls


def _split(url: str, base: str = "") -> tuple[str, str]:
    """Origin and path, as seen from `base`; `FetchError` if nobody can be asked there."""
    try:
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(base, url))
        if parts.scheme in ("http", "https") and parts.hostname:
            return f"{parts.scheme}://{parts.netloc}", parts.path or "/"
    except ValueError:  # brackets without an IPv6 address between them
        pass
    raise FetchError(FetchFault.UNREACHABLE, f"{url!r} is not http://HOST:PORT/PATH")


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


class _Line(asyncio.Protocol):
    """A connection that carries one call at a time; doubles as llhttp's callbacks.

    Its parser holds it, so it holds a parser only while an answer comes: a thousand endpoints are
    two hundred fresh connections a second, too many to be left to the search for cycles.
    """

    def __init__(self) -> None:
        self.location = ""
        self.idle_since = self._made_at = asyncio.get_running_loop().time()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._uses = 0
        self._sized = self._head_seen = self._keeps = self._is_silent = False

    def is_good(self, now: float) -> bool:
        """May another call be made on it?"""
        return (
            self._keeps
            and now - self.idle_since < MAX_IDLE_S
            and now - self._made_at < MAX_AGE_S
            and self._transport is not None
            and not self._transport.is_closing()
        )

    async def ask(self, request: bytes) -> Answer:
        """Send a request and wait for its answer. Raises `FetchError`, or `_StaleError`."""
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body = []
        self.location = ""
        self._size = 0
        self._uses += 1
        self._sized = self._head_seen = self._keeps = False
        self._is_silent = True
        if self._transport is not None:
            self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Drop the connection; what is unread is not wanted."""
        self._keeps = False
        self._parser = None
        if self._transport is not None:
            self._transport.abort()
        answer, self._answer = self._answer, None  # an error's frames would lead back to here
        if answer is not None and answer.done() and not answer.cancelled():
            answer.exception()  # retrieved: nobody may be waiting any more
        elif answer is not None:
            answer.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._is_silent = False
        parser = self._parser
        if parser is None:  # nobody has asked anything
            self.close()
            return
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"not HTTP: {error}")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._keeps = False
        answer = self._answer
        if answer is None or answer.done():
            return
        if self._uses > 1 and self._is_silent:
            answer.set_exception(_StaleError())
        elif self._head_seen and not self._sized and exc is None:
            self.on_message_complete()
        self._parser = None
        self._fail("the connection closed before the answer was complete")

    def on_message_begin(self) -> None:
        """llhttp: an answer begins. A second one means that the two sides disagree."""
        if self._answer is None or self._answer.done():
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """llhttp: one header."""
        name = name.lower()
        self._sized |= name in (b"content-length", b"transfer-encoding")
        if name == b"location":
            self.location = value.decode("latin-1")

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
        """llhttp: the whole answer is there, unless it is one that only announces another (1xx)."""
        parser = self._parser
        if parser is None or self._answer is None or self._answer.done():
            return
        status = parser.get_status_code()
        if status < FIRST_FINAL:
            self.location, self._sized, self._head_seen = "", False, False
            return
        self._keeps = self._sized and parser.should_keep_alive()
        self._parser = None
        self._answer.set_result(Answer(status, b"".join(self._body)))

    def _fail(self, message: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(FetchError(FetchFault.BROKEN, message))
