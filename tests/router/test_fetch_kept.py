"""Connections that a fetcher keeps: used again, never mistaken for a sign of an engine's health."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from cardan_router import fetch
from cardan_router.fetch import Fetcher, FetchError, FetchFault

from tests.fakes.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Keeper:
    """A server that keeps its connections, and counts them."""

    def __init__(self) -> None:
        self.url = ""
        self.accepted = 0
        self.asked = 0
        self.silent_at = 0  # the request that is read and not answered
        self.writers: list[asyncio.StreamWriter] = []
        self.head = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the other side is gone."""
        self.accepted += 1
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                if self.asked == self.silent_at:
                    break
                writer.write(self.head)
        writer.close()


@contextlib.asynccontextmanager
async def keeper() -> AsyncIterator[tuple[Keeper, Fetcher, asyncio.Server]]:
    """A server that keeps connections, and a fetcher that is closed at the end."""
    kept, fetcher = Keeper(), Fetcher()
    server = await asyncio.start_server(kept.serve, "127.0.0.1", 0)
    kept.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield kept, fetcher, server
    finally:
        fetcher.close()
        server.close()
        await until(lambda: all(writer.is_closing() for writer in kept.writers), "the end")


async def test_the_connection_is_kept_for_the_next_call() -> None:
    async with keeper() as (engine, fetcher, _):
        for _call in range(5):
            assert await fetcher.get(engine.url, "/", 1.0) == (200, b"ok")
        assert (engine.accepted, engine.asked) == (1, 5)


async def test_a_kept_connection_that_breaks_unseen_fails_nothing() -> None:
    """The engine closes it for having been idle while the next call is on its way."""
    async with keeper() as (engine, fetcher, _):
        engine.silent_at = 2
        for _call in range(2):
            assert await fetcher.get(engine.url, "/", 1.0) == (200, b"ok")
        assert (engine.accepted, engine.asked) == (2, 3)


async def test_a_fresh_connection_that_breaks_is_a_failure() -> None:
    async with keeper() as (engine, fetcher, _):
        engine.silent_at = 1
        with pytest.raises(FetchError) as caught:
            await fetcher.get(engine.url, "/", 1.0)
        assert caught.value.fault is FetchFault.BROKEN
        assert engine.asked == 1


async def test_an_engine_that_has_died_is_unreachable_at_the_next_call() -> None:
    async with keeper() as (engine, fetcher, server):
        await fetcher.get(engine.url, "/", 1.0)
        server.close()
        engine.writers[0].transport.abort()
        with pytest.raises(FetchError) as caught:
            await fetcher.get(engine.url, "/", 1.0)
        assert caught.value.fault is FetchFault.UNREACHABLE


async def test_an_old_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it shows when nobody accepts any more."""
    monkeypatch.setattr("cardan_router.fetch.MAX_AGE_S", 0.0)
    async with keeper() as (engine, fetcher, _):
        for _call in range(2):
            await fetcher.get(engine.url, "/", 1.0)
        assert engine.accepted == 2
        assert not fetcher._kept


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
    ],
)
async def test_a_connection_that_is_to_close_or_says_too_much_is_not_kept(head: bytes) -> None:
    async with keeper() as (engine, fetcher, _):
        engine.head = head
        for _call in range(2):
            assert await fetcher.get(engine.url, "/", 1.0) == (200, b"ok")
        assert engine.accepted == 2


async def test_whoever_leaves_keeps_no_connection() -> None:
    async with keeper() as (engine, fetcher, _):
        await fetcher.get(engine.url, "/", 1.0)
        fetcher.forget(engine.url)
        await until(lambda: engine.writers[0].is_closing(), "the end")
        assert not fetcher._kept


async def test_who_is_kept_stays_when_there_is_no_room_for_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fleet of a few more than there is room for would else dial for every call."""
    monkeypatch.setattr(fetch, "MAX_KEPT", 1)
    async with keeper() as (first, fetcher, _), keeper() as (second, _, _):
        for _call in range(3):
            await fetcher.get(first.url, "/", 1.0)
            await fetcher.get(second.url, "/", 1.0)
        assert (first.accepted, second.accepted) == (1, 3)
        first.writers[0].transport.abort()
        await until(lambda: not is_kept(fetcher, first), "it to be seen")
        for _call in range(2):
            await fetcher.get(second.url, "/", 1.0)
        assert second.accepted == 4, "who has died leaves its room"
        fetcher.close()


def is_kept(fetcher: Fetcher, engine: Keeper) -> bool:
    """Is a connection kept that may be used?"""
    line = fetcher._kept.get(engine.url)
    return line is not None and line.is_good(asyncio.get_running_loop().time())
