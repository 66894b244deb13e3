"""Fetching from engines: an answer or one of three faults, within the time, never a leak."""

from __future__ import annotations

import contextlib
import gc

import pytest
from cardan_router.fetch import MAX_BODY_BYTES, Fetcher, FetchError, FetchFault

from tests.fakes.ports import held_port
from tests.fakes.waiting import DEADLINE_S
from tests.router.stub import stub


async def fault_of(url: str, path: str = "/", timeout_s: float = DEADLINE_S) -> FetchFault:
    """How a fetch fails."""
    with pytest.raises(FetchError) as caught:
        await Fetcher().get(url, path, timeout_s)
    return caught.value.fault


async def test_an_answer_has_its_status_and_body() -> None:
    async with stub() as engine:
        engine.answers["/x?y=1"] = (503, b"busy")
        assert await Fetcher().get(engine.url, "/x?y=1", DEADLINE_S) == (503, b"busy")


async def test_headers_are_sent_with_every_request() -> None:
    async with stub() as engine:
        await Fetcher(headers=(("authorization", "Bearer k"),)).get(engine.url, "/", DEADLINE_S)
        assert b"\r\nauthorization: Bearer k\r\n" in engine.heads[0]


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            b"abc",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.0 200 OK\r\n\r\n", b""),
        (
            b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            b"ok",
        ),
    ],
)
async def test_every_framing_is_understood(raw: bytes, body: bytes) -> None:
    async with stub() as engine:
        engine.raw = raw
        assert await Fetcher().get(engine.url, "/", DEADLINE_S) == (200, body)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_BODY_BYTES + 1),
    ],
)
async def test_a_broken_answer_is_no_answer(raw: bytes) -> None:
    async with stub() as engine:
        engine.raw = raw
        assert await fault_of(engine.url) is FetchFault.BROKEN


async def test_nobody_listening_is_unreachable() -> None:
    with held_port() as port:
        assert await fault_of(f"http://127.0.0.1:{port}") is FetchFault.UNREACHABLE


async def test_silence_is_a_timeout_and_the_connection_is_closed() -> None:
    async with stub() as engine:
        engine.answers["/silent"] = None
        assert await fault_of(engine.url, "/silent", 0.1) is FetchFault.TIMEOUT


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    assert await fault_of("http://no-such-host.invalid:1") is FetchFault.UNREACHABLE


@pytest.mark.parametrize(
    "url",
    ["http://a..b:80", "http://" + "a" * 64 + ".example", "http://h:99999", "http://\u0142:1"],
)
async def test_an_address_that_cannot_be_any_is_unreachable(url: str) -> None:
    assert await fault_of(url) is FetchFault.UNREACHABLE


async def test_so_is_one_that_an_answer_sends_on_to() -> None:
    async with stub() as engine:
        engine.raw = (
            b"HTTP/1.1 307 T\r\nlocation: http://[::1\r\n"
            b"connection: close\r\ncontent-length: 0\r\n\r\n"
        )
        with pytest.raises(FetchError, match="is not http://HOST:PORT/PATH"):
            await Fetcher().post(f"{engine.url}/x", b"{}", DEADLINE_S)


async def test_what_only_announces_an_answer_is_none() -> None:
    async with stub() as engine:
        engine.raw = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        assert await fault_of(engine.url) is FetchFault.BROKEN


async def test_what_is_over_is_gone_without_a_search_for_cycles() -> None:
    """A thousand endpoints are two hundred fresh connections a second."""
    gc.collect()
    gc.disable()
    try:
        async with stub() as engine:
            for raw in (b"HTTP/1.1 200 OK\r\n\r\nok", b"SSH-2.0-x\r\n\r\n", b""):
                engine.raw = raw
                with contextlib.suppress(FetchError):
                    await Fetcher().get(engine.url, "/", 0.1)
        with held_port() as port, contextlib.suppress(FetchError):
            await Fetcher().get(f"http://127.0.0.1:{port}", "/", DEADLINE_S)
        left = {type(thing).__name__ for thing in gc.get_objects()}
        assert not left & {"_Line", "HttpResponseParser"}
    finally:
        gc.enable()
