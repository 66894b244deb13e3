"""Whatever a client writes into metadata, an engine reads one request and no header of its making.

gRPC's client library refuses bad metadata, so the wire is written by hand.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any, cast

import pytest
from cardan.errors import RequestError
from cardan_router.grpc.boundary import Context, Rpc, headers_of
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.waiting import DEADLINE_S
from tests.router.grpc.door import Door, chat, door, failure
from tests.router.grpc.engine import engine

_PATH = b"/cardan.v1.Inference/GenerateUnary"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END = 0x1
_END_HEADERS = 0x4


class Metadata:
    """Of a call's context, what the boundary asks: metadata, and the time that is left."""

    def __init__(self, *pairs: tuple[str, str | bytes], remaining_s: float | None = None) -> None:
        self._pairs = pairs
        self._remaining_s = remaining_s

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._pairs

    def time_remaining(self) -> float | None:
        return self._remaining_s


def context(*pairs: tuple[str, str | bytes], remaining_s: float | None = None) -> Context:
    return cast("Context", Metadata(*pairs, remaining_s=remaining_s))


def literal(name: bytes, value: bytes) -> bytes:
    """A header field without compression (RFC 7541 §6.2.2)."""
    return b"\0%c%b%c%b" % (len(name), name, len(value), value)


def frame(kind: int, flags: int, payload: bytes, stream: int = 1) -> bytes:
    """A frame of HTTP/2 (RFC 9113 §4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


async def answer_to(gate: Door, name: bytes, value: bytes) -> bytes:
    """Make a unary call with one more header field, byte for byte; what comes back."""
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", _PATH),
        (b":authority", b"x"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (name, value),
    ]
    message = chat().SerializeToString()
    reader, writer = await asyncio.open_connection(*gate.target.split(":"))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(_SETTINGS, 0, b"", 0))
    writer.write(frame(_HEADERS, _END_HEADERS, b"".join(literal(*field) for field in fields)))
    writer.write(frame(_DATA, _END, b"\0" + struct.pack(">I", len(message)) + message))
    got = b""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while b"grpc-status" not in got and (data := await reader.read(65_536)):
                got += data
    finally:
        writer.close()
        await writer.wait_closed()
    return got


@pytest.mark.parametrize(
    "value",
    [
        b"1\r\ncontent-length: 0\r\n\r\nPOST /flush_cache HTTP/1.1\r\nhost: e",
        b"a\nb",
        b"a\rb",
        b"a\x85b",
        "東".encode(),
    ],
)
async def test_a_value_that_is_no_headers_value_never_reaches_an_engine(value: bytes) -> None:
    async with engine() as one, door([one.url]) as gate:
        got = await answer_to(gate, b"x-a", value)
        assert b"grpc-status\x013" in got, "INVALID_ARGUMENT"
        assert not one.asks
        assert gate.open_leases == 0
        await gate.inference.GenerateUnary(chat())  # the connection to the engine is in order
        assert [ask.path for ask in one.asks] == ["/v1/chat/completions"]


async def test_a_call_written_by_hand_is_answered() -> None:
    async with engine() as one, door([one.url]) as gate:
        got = await answer_to(gate, b"x-a", b"a\tb c")
        assert b"w0 w1 w2" in got
        assert one.asks[0].headers["x-a"] == "a\tb c"


async def test_the_wrong_value_is_named() -> None:
    with pytest.raises(RequestError) as raised:
        headers_of(context(("x-a", "a\r\nb")))
    assert raised.value.param == "x-a"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "x\r\ny", ":path", "Content-Length", "x\x85"])
def test_a_name_that_is_no_headers_name_is_refused(name: str) -> None:
    with pytest.raises(RequestError) as raised:
        headers_of(context((name, "1")))
    assert raised.value.param == "metadata"


def test_binary_metadata_stays_here_whatever_it_holds() -> None:
    assert headers_of(context(("x-b-bin", b"\r\n\xff"), ("x-a", "1"), ("x-a", "2"))) == {
        "x-a": "1, 2"
    }


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=12)), max_size=4))
def test_what_passes_are_lines_of_a_head(pairs: list[tuple[str, str]]) -> None:
    try:
        headers = headers_of(context(*pairs))
    except RequestError:
        return
    for name, value in headers.items():
        line = f"{name}: {value}".encode("ascii")
        assert line.splitlines() == [line]
        assert name == name.lower()


class Ids:
    """A gateway's ids, which is all that a call's edge wants of a gateway here."""

    class ids:  # noqa: N801 - an attribute of the gateway
        of = staticmethod(lambda headers: "r")


@pytest.mark.parametrize(
    ("given_", "remaining_s", "expected"),
    [
        (None, None, None),
        (None, 1.5, "1500"),
        (None, 0.0, "1"),
        (None, 1e9, None),
        (None, float("inf"), None),
        ("100", 1.5, "100"),
        ("2000", 1.5, "1500"),
        ("100", float("inf"), "100"),
        ("9" * 5000, 1.5, "9" * 5000),
        ("soon", 1.5, "soon"),
    ],
)
def test_the_sooner_deadline_counts(
    given_: str | None, remaining_s: float | None, expected: str | None
) -> None:
    rpc = Rpc(context(remaining_s=remaining_s), cast("Any", Ids()))
    if given_ is not None:
        rpc.headers["x-request-timeout-ms"] = given_
    rpc.adopt_deadline()
    assert rpc.headers.get("x-request-timeout-ms") == expected


async def test_a_number_of_any_length_is_a_wrong_header_and_no_bug() -> None:
    async with engine() as one, door([one.url]) as gate:
        metadata = (("x-request-timeout-ms", "9" * 5000),)
        with pytest.raises(Exception, match="x-request-timeout-ms") as raised:
            await gate.inference.GenerateUnary(chat(), metadata=metadata, timeout=30)
        got = failure(cast("Any", raised.value))
        assert (got.code, got.field) == ("INVALID_ARGUMENT", "x-request-timeout-ms")


async def test_a_deadline_in_ten_thousand_years_is_none() -> None:
    async with engine() as one, door([one.url]) as gate:
        got = await answer_to(gate, b"grpc-timeout", b"99999999H")
        assert b"w0 w1 w2" in got
