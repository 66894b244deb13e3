"""What our parser accepts, llhttp accepts, with the same meaning: nothing can be smuggled past one.

The other way round it need not hold: ours is the stricter. Inputs are heads and chunked bodies as
people write them, then damaged: bytes changed, inserted, removed, lines doubled and swapped.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

import httptools
from cardan.instants import Monotonic
from cardan.prompt import KeyConfig
from cardan.request import Api
from cardan_router.calls import Reading, read_call
from cardan_router.passing import TO_CLIENTS, TO_ENGINES
from cardan_router.wire.chunks import ChunkError, ChunkReader
from cardan_router.wire.fields import HeadError
from cardan_router.wire.heads import CHUNKED, UNTIL_CLOSE, parse_answer, parse_request
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from cardan_router.wire.heads import AnswerHead, RequestHead

REQUESTS = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nX-A: b c\r\n",
    b"POST /tokenize?x=%20&y HTTP/1.1\r\nhost:g\r\nTransfer-Encoding: chunked\r\n",
    b"GET /v1/models HTTP/1.0\r\nConnection: keep-alive\r\nCookie: a=b\r\nCookie: c=d\r\n",
    b"GET / HTTP/1.1\r\nHost: g\r\nConnection: close, x\r\nAccept: a\r\nAccept: b\r\nE:\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: g\r\n",
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nserver: uvicorn\r\n",
    b"HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\ncontent-type: text/event-stream\r\n",
    b"HTTP/1.0 503 Service Unavailable\r\nx: y\r\n",
    b"HTTP/1.1 204\r\nconnection: close\r\n",
)
BODIES = (
    b"5\r\nhello\r\n0\r\n\r\n",
    b'A;ext="1"\r\n0123456789\r\n0005\r\nhello\r\n000\r\nx-trailer: y\r\n\r\n',
    b"1\r\na\r\n1\r\n\r\r\n2\r\n\r\n\r\n0\r\n\r\n",
)
PIECES = st.sampled_from(
    (
        *(bytes([byte]) for byte in b"\r\n \t:\x00\x7f\xff,0a;x-+%#?/\x0b\x0c\x1c\x1e\x80\x85"),
        *(b"\r\n", b"Content-Length: 7\r\n", b"Transfer-Encoding: chunked\r\n", b"chunked"),
        *(b"HTTP/1.1", b"1\r\nz\r\n", b"Host: h\r\n", b"\r\nConnection: close", b"\x85x-hop: 1"),
    )
)


class Oracle:
    """What llhttp makes of the same bytes."""

    def __init__(self, *, answers: bool = False) -> None:
        self.parser: Any = (
            httptools.HttpResponseParser(self) if answers else httptools.HttpRequestParser(self)
        )
        self.keep_alive = False
        self.target = b""
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.head_complete = False
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_complete:  # not those of the trailer
            self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.head_complete = True
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True

    def combined(self) -> dict[str, str]:
        """Headers joined as ours are."""
        joined: dict[str, str] = {}
        for name, value in self.headers:
            text = value.strip(" \t")
            glue = "; " if name == "cookie" else ", "
            joined[name] = text if name not in joined else f"{joined[name]}{glue}{text}"
        if "transfer-encoding" not in joined:
            joined.pop("content-length", None)  # ours is `length`
        return joined


@st.composite
def damaged(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """One of the seeds with up to four small injuries."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at:at] = draw(PIECES)
            case 1:
                del data[at : at + draw(st.integers(1, 4))]
            case 2:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case _:
                end = min(len(data), at + draw(st.integers(1, 30)))
                data[at:at] = data[at:end]
    return bytes(data)


def says_both(headers: dict[str, str]) -> bool:
    """`keep-alive` and `close` at once: llhttp keeps the connection in HTTP/1.0, we close it."""
    said = headers.get("connection", "").lower()
    return "keep-alive" in said and "close" in said


def ours(data: bytes) -> RequestHead | None:
    """Our reading of a request head that has its empty line; twice, for it may be remembered."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    try:
        parse_request(data[:end], TO_ENGINES)
        return parse_request(data[:end], TO_ENGINES)
    except HeadError:
        return None


@settings(max_examples=300, deadline=None)
@given(damaged(REQUESTS))
def test_a_request_head_that_we_accept_means_the_same_to_llhttp(data: bytes) -> None:
    data += b"\r\n"
    head = ours(data)
    if head is None:
        return
    end = data.find(b"\r\n\r\n") + 4
    oracle = Oracle()
    parser = oracle.parser
    parser.feed_data(data[:end])
    assert oracle.head_complete
    assert parser.get_method().decode() == head.method
    assert oracle.target.decode() == head.target
    assert parser.get_http_version() == f"1.{head.minor}"
    assert oracle.combined() == head.headers
    assert oracle.keep_alive == head.keep_alive or says_both(head.headers)
    if head.length == CHUNKED:
        assert not oracle.complete
        parser.feed_data(b"3\r\nabc\r\n0\r\n\r\n")
    elif head.length:
        assert not oracle.complete
        parser.feed_data(b"x" * min(head.length, 100))
    if head.length == CHUNKED or 0 <= head.length <= 100:
        assert oracle.complete
        assert len(oracle.body) == (3 if head.length == CHUNKED else head.length)


@settings(max_examples=300, deadline=None)
@given(damaged(REQUESTS), st.sampled_from(["", "connection: x-hop, x-a\r\n", "x-hop: 2\r\n"]))
def test_what_an_engine_is_sent_is_one_request_to_llhttp(data: bytes, more: str) -> None:
    data += more.encode() + b"\r\n"
    head = ours(data)
    if head is None:
        return
    reading = Reading(KeyConfig(), lambda _: 1.0, wants_prompt=False)
    call = read_call(
        reading, Api.CHAT, "/v1/chat/completions", head.headers, b"{}",
        fields={}, model="m", passed=head.passed, request_id="r", tenant="", priority=0,
        now=Monotonic(0.0),
    )  # fmt: skip
    oracle = Oracle()
    oracle.parser.feed_data(
        f"POST {call.path} HTTP/1.1\r\nhost: e\r\n{call.head}content-length: 2\r\n\r\n{{}}".encode(
            "latin-1"
        )
    )
    assert oracle.complete
    assert oracle.body == b"{}"
    allowed = head.headers.keys() | {"host", "content-length", "content-type", "x-request-id"}
    assert {name for name, _ in oracle.headers} <= allowed
    if "x-hop" in head.headers.get("connection", "").lower():
        assert "x-hop" not in dict(oracle.headers)


def our_answer(data: bytes) -> AnswerHead | None:
    """Our reading of an answer's head."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    try:
        parse_answer(data[:end], TO_CLIENTS)
        return parse_answer(data[:end], TO_CLIENTS)
    except HeadError:
        return None


@settings(max_examples=300, deadline=None)
@given(damaged(ANSWERS))
def test_an_answers_head_that_we_accept_means_the_same_to_llhttp(data: bytes) -> None:
    data += b"\r\n"
    head = our_answer(data)
    if head is None:
        return
    oracle = Oracle(answers=True)
    parser = oracle.parser
    parser.feed_data(data[: data.find(b"\r\n\r\n") + 4])
    assert oracle.head_complete
    assert parser.get_status_code() == head.status
    assert oracle.combined() == head.headers
    if head.length == UNTIL_CLOSE:
        assert not head.keep_alive
    else:
        assert oracle.keep_alive == head.keep_alive or says_both(head.headers)
    if head.length == 0:
        assert oracle.complete


def taken(reader: ChunkReader, data: bytes) -> bytes:
    """The payload of one read, as a connection takes it: whole chunks by the short way."""
    return reader.whole(data) or reader.feed(data)


@settings(max_examples=300, deadline=None)
@given(damaged(BODIES), st.lists(st.integers(1, 9), max_size=40))
def test_chunks_that_we_accept_mean_the_same_to_llhttp(data: bytes, cuts: list[int]) -> None:
    reader = ChunkReader()
    payload = b""
    rest = data
    try:
        for cut in cuts:
            if rest and not reader.done:
                payload += taken(reader, rest[:cut])
                rest = rest[cut:]
        if rest and not reader.done:
            payload += taken(reader, rest)
            rest = b""
    except ChunkError:
        return
    used = data[: len(data) - len(rest) - len(reader.rest)] if reader.done else data
    oracle = Oracle()
    parser = oracle.parser
    parser.feed_data(b"POST / HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n")
    if reader.done:
        parser.feed_data(used)
        assert oracle.complete
        assert oracle.body == payload
    else:
        try:
            parser.feed_data(used)
        except httptools.HttpParserError:
            return  # llhttp knows already that it is wrong; ours waits, and a deadline ends it
        assert not oracle.complete
        assert oracle.body == payload


def chunk_ends(payloads: list[bytes]) -> list[int]:
    """Where each chunk of a body ends, the last one too."""
    sizes = [len(b"%x\r\n%b\r\n" % (len(payload), payload)) for payload in payloads]
    return list(accumulate([*sizes, len(b"0\r\n\r\n")]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.data())
def test_any_chunking_gives_the_same_payload(payloads: list[bytes], data: st.DataObject) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in payloads) + b"0\r\n\r\n"
    reader = ChunkReader()
    got = b""
    at = 0
    ends = chunk_ends(payloads)
    while at < len(body):
        # Where chunks end, more often than chance would have it: engines write one at a time.
        size = data.draw(st.integers(1, 60) | st.just(next(e for e in ends if e > at) - at))
        got += taken(reader, body[at : at + size])
        at += size
    assert reader.done
    assert got == b"".join(payloads)
    assert reader.rest == b""
