"""Queues that the gateway holds, over real sockets: one prompt at a time, and nobody is lost."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from cardan.ledger import Outcome
from cardan.queues import QueuesConfig
from cardan.scheduler import AdmissionConfig

from tests.fakes.client import chat, connect, post
from tests.fakes.engine import DONE, HANG, LAST_CHUNK, SSE_HEAD, Seen, Step, engines, plain, token
from tests.fakes.gateway import serving
from tests.fakes.scripts import says
from tests.fakes.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.fakes.client import Reply
    from tests.fakes.gateway import Served

ONE = AdmissionConfig(queues=QueuesConfig(window=1))


async def ask(served: Served, *, stream: bool = True, explain: bool = False) -> Reply:
    """One request on a connection of its own."""
    async with connect(served.port) as client:
        headers = ("x-cardan-explain: 1",) if explain else ()
        await client.send(post(chat(stream=stream), headers=headers))
        return await client.reply()


def asked(served: Served, count: int, *, stream: bool = True) -> list[asyncio.Task[Reply]]:
    """So many requests at once."""
    return [asyncio.ensure_future(ask(served, stream=stream)) for _ in range(count)]


class Steps:
    """A script that computes one prompt for each `go`, and goes on answering until `end`."""

    def __init__(self) -> None:
        self.go: list[asyncio.Event] = []
        self.end = asyncio.Event()

    def __call__(self, _: Seen) -> Iterable[Step]:
        go = asyncio.Event()
        self.go.append(go)
        yield SSE_HEAD
        yield go
        yield token(0)
        yield self.end
        yield DONE + LAST_CHUNK


async def test_the_next_prompt_is_sent_with_the_first_token_of_the_one_before() -> None:
    script = Steps()
    async with engines(1, script) as fleet, serving(fleet, admission=ONE) as served:
        tasks = asked(served, 4)
        for count in range(1, 5):
            await until(lambda n=count: len(script.go) == n, f"prompt {count}")  # type: ignore[misc]
            await until(lambda n=count: len(served.gateway.waiting) == 4 - n, "the rest to wait")  # type: ignore[misc]
            assert served.in_flight == count  # those before it still stream
            script.go[-1].set()
        script.end.set()
        assert [reply.status for reply in await asyncio.gather(*tasks)] == [200] * 4


async def test_answers_that_do_not_stream_take_turns_too() -> None:
    async with engines(2) as fleet, serving(fleet, admission=ONE) as served:
        replies = await asyncio.gather(*asked(served, 12, stream=False))
        assert [reply.status for reply in replies] == [200] * 12
        assert served.journal.outcomes == [Outcome.OK] * 12


async def test_a_client_that_leaves_its_turn_makes_no_request() -> None:
    async with (
        engines(1, says(HANG)) as (engine,),
        serving([engine], admission=ONE) as served,
        connect(served.port) as first,
        connect(served.port) as second,
    ):
        await first.send(post(chat(stream=True)))
        await until(lambda: len(engine.requests) == 1, "the first to run")
        await second.send(post(chat(stream=True)))
        await until(lambda: len(served.gateway.waiting) == 1, "the second to wait")
        second.leave()
        await until(lambda: not served.gateway.waiting, "its turn to be free")
        assert not served.gateway.scheduler.queues
        assert len(engine.requests) == 1


async def test_when_an_engine_dies_who_waits_for_it_goes_elsewhere() -> None:
    hangs = asyncio.Event()

    def script(_: Seen) -> Iterable[Step]:
        yield hangs
        yield plain()

    async with engines(2, script) as fleet, serving(fleet, admission=ONE) as served:
        tasks = asked(served, 6)
        await until(lambda: len(served.gateway.waiting) == 4, "four to wait")
        await fleet[0].stop()
        hangs.set()
        assert [reply.status for reply in await asyncio.gather(*tasks)] == [200] * 6


async def test_who_waits_is_told_when_the_gateway_ends() -> None:
    async with engines(1, says(HANG)) as fleet, serving(fleet, admission=ONE) as served:
        tasks = asked(served, 2)
        await until(lambda: len(served.gateway.waiting) == 1, "one to wait")
        await served.gateway.shutdown(0.0)
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        codes = [reply.status for reply in replies if not isinstance(reply, BaseException)]
        assert 503 in codes
        assert not served.gateway.scheduler.queues


async def test_the_receipt_says_where_it_waited_and_names_no_address() -> None:
    script = Steps()
    script.end.set()
    async with engines(1, script) as (engine,), serving([engine], admission=ONE) as served:
        first = asyncio.ensure_future(ask(served))
        await until(lambda: len(script.go) == 1, "the first to run")
        second = asyncio.ensure_future(ask(served, explain=True))
        await until(lambda: len(served.gateway.waiting) == 1, "the second to wait")
        script.go[0].set()
        await until(lambda: len(script.go) == 2, "its turn")
        script.go[1].set()
        await first
        told = (await second).header("x-cardan-explain") or ""
        assert f"127.0.0.1:{engine.port}" not in told
    receipt = json.loads(told)
    assert receipt["assigned"]["endpoint"] == receipt["endpoint"]
    assert receipt["assigned"]["waited_s"] == pytest.approx(receipt["queued_s"], abs=0.05)
    assert receipt["assigned"]["migrations"] == 0
