"""A prefix is made warm at an engine that is to own it: once, within bounds, in nobody's way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from cardan.endpoint import EndpointId
from cardan.instants import Monotonic
from cardan.overlay import ModelOverlay, RoutingOverlay
from cardan.policies import DualMap
from cardan.prompt import KeyConfig
from cardan_router.fetch import Fetcher
from cardan_router.limits import PrewarmConfig
from cardan_router.prewarm import MAX_TRIES, Prewarms

from tests.fakes.client import chat, connect, post
from tests.fakes.clock import ManualClock
from tests.fakes.engine import FakeEngine, engines, plain
from tests.fakes.gateway import MODEL, Served, serving
from tests.fakes.scripts import says
from tests.fakes.waiting import settle, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHARED = {"role": "system", "content": "what everybody is told " * 300}  # three blocks and a half
ON = PrewarmConfig(enabled=True)
BLOCK = KeyConfig().block_bytes


class Bench:
    """A gateway of three engines, of which two own the key of a prompt, and what warms the third.

    Time stands still but for `later`.
    """

    def __init__(
        self, served: Served, fleet: list[FakeEngine], clock: ManualClock, config: PrewarmConfig
    ) -> None:
        self.served = served
        self.engines = {EndpointId(engine.url): engine for engine in fleet}
        self.clock = clock
        self.fetcher = Fetcher()
        self.counted: list[str] = []
        self.tokens: list[int] = []
        self.prewarms = Prewarms(
            served.gateway,
            *(config, KeyConfig(), self.fetcher, clock, random.Random(1)),
            count=self.counted.append,
            computed=self.tokens.append,
        )
        self.key = 0
        self.new = EndpointId("")

    async def ask(self, text: str = "?", **fields: Any) -> None:
        """A client's request under the key."""
        body = {**chat(text, **fields), "messages": [SHARED, {"role": "user", "content": text}]}
        async with connect(self.served.port) as client:
            await client.send(post(body))
            assert (await client.reply()).status == 200

    async def meet(self) -> None:
        """Find out the key, and who does not own it."""
        await self.ask("first")
        decision = self.served.journal.flights[-1].exchange.decision
        assert decision is not None
        self.key = decision.key
        own = {candidate.endpoint.id for candidate in decision.candidates}
        (self.new,) = self.engines.keys() - own

    def tell(self, *names: str, key: int | None = None) -> None:
        """The operator wants the key warm there."""
        word = f"{self.key if key is None else key:016x}"
        ids = tuple(EndpointId(name) for name in names)
        part = ModelOverlay(warm={word: ids} if ids else {})
        self.served.gateway.fleet.apply(RoutingOverlay(models={MODEL: part}), self.clock())

    async def later(self, seconds: float = 5.0) -> None:
        """Time passes, and the gateway looks."""
        self.clock.advance(seconds)
        self.prewarms.look(self.clock())
        await settle()

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The bodies that the new owner got."""
        return [json.loads(seen.body) for seen in self.engines[self.new].requests]

    @property
    def warmed(self) -> list[tuple[str, str, str]]:
        """What the gauge says."""
        return [labels for labels, _ in self.prewarms.warmed()]


@asynccontextmanager
async def benched(config: PrewarmConfig = ON) -> AsyncIterator[Bench]:
    """A bench that ends with its test."""
    clock = ManualClock()
    async with engines(3) as fleet, serving(fleet, policy=DualMap(), clock=clock) as served:
        bench = Bench(served, fleet, clock, config)
        task = asyncio.ensure_future(bench.prewarms.run())
        await bench.meet()
        yield bench
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        bench.fetcher.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """With prewarming turned on."""
    async with benched() as one:
        yield one


async def warmed_up(bench: Bench) -> None:
    """Two prompts come, and the new owner is asked."""
    bench.tell(bench.new)
    await bench.later(0.0)
    await bench.ask("one")
    await bench.ask("two")
    await bench.later()
    await until(lambda: bench.counted, "a request")


async def test_what_two_prompts_share_is_sent_for_one_token(bench: Bench) -> None:
    await warmed_up(bench)
    (body,) = bench.asked
    system, user = body["messages"]
    assert SHARED["content"].startswith(system["content"])
    assert 3 * BLOCK - 20 < len(system["content"]) <= 3 * BLOCK
    assert user == {"role": "user", "content": "."}
    assert (body["max_tokens"], body["stream"], body["model"]) == (1, False, MODEL)
    assert "priority" not in body
    assert bench.warmed == [(MODEL, f"{bench.key:016x}", bench.new)]
    assert (bench.counted, bench.tokens) == (["ok"], [4])  # 12 tokens, 8 of them cached


async def test_the_gateway_knows_then_what_the_new_owner_holds(bench: Bench) -> None:
    await warmed_up(bench)
    state = bench.served.gateway.fleet.endpoints[bench.new]
    chain = bench.served.journal.flights[-1].call.view.prompt.chain
    assert state.shadow.match(chain) == 3
    assert (state.load.in_flight, bench.served.in_flight) == (0, 0)


async def test_who_is_asked_once_is_not_asked_again(bench: Bench) -> None:
    await warmed_up(bench)
    for _ in range(5):
        await bench.ask("again")
        await bench.later()
    assert len(bench.asked) == 1
    bench.tell()
    await bench.later()
    assert bench.warmed == []


async def test_a_prompt_that_stays_alone_is_cut_where_its_key_ends(bench: Bench) -> None:
    bench.tell(bench.new)
    await bench.later(0.0)
    await bench.ask("one")
    await bench.later(0.5)
    assert not bench.asked
    await bench.later(3.0)
    await bench.later(1.0)
    await until(lambda: bench.counted, "a request")
    assert len(bench.asked[0]["messages"][0]["content"]) < BLOCK


async def test_nothing_is_kept_or_asked_before_the_operator_says_so(bench: Bench) -> None:
    await bench.later()
    await bench.ask("one")
    assert bench.served.gateway.on_placed is None
    bench.tell(bench.new, key=1)  # another's
    await bench.later()
    await bench.ask("two")
    await bench.ask("three")
    await bench.later()
    assert not bench.asked


async def test_what_the_operator_takes_back_is_not_done(bench: Bench) -> None:
    bench.tell(bench.new)
    await bench.later(0.0)
    await bench.ask("one")
    bench.tell()
    await bench.later()
    await bench.later()
    assert not bench.asked
    assert bench.served.gateway.on_placed is None


async def test_who_was_not_the_first_asks_all_the_same_when_the_key_has_moved(
    bench: Bench,
) -> None:
    bench.tell(bench.new)
    await bench.later(0.0)
    word = f"{bench.key:016x}"
    moved = ModelOverlay(add={word: (bench.new,), "0" * 16: (bench.new,)})
    bench.served.gateway.fleet.apply(RoutingOverlay(models={MODEL: moved}), bench.clock())
    await bench.later()
    await bench.ask("one")
    await bench.ask("two")
    await bench.later()
    await until(lambda: bench.counted, "a request")
    assert bench.counted == ["ok"]
    assert bench.warmed == [], "the operator asks no more"
    await bench.later()
    assert bench.served.gateway.on_placed is None


async def test_a_prompt_is_kept_no_longer_than_it_is_needed(bench: Bench) -> None:
    await warmed_up(bench)
    await bench.later()
    (prefix,) = bench.prewarms._prefixes
    assert prefix.size == 0
    await bench.ask("another")
    await bench.later()
    assert prefix.size == 0
    bench.tell(bench.new, *bench.engines)
    await bench.later()
    await bench.ask("for the others")
    assert prefix.size > 0


async def test_an_engine_that_refuses_is_asked_again_and_not_for_ever(bench: Bench) -> None:
    bench.engines[bench.new].script = says(plain(b"{}", "503 Service Unavailable"))
    await warmed_up(bench)
    for number in range(1, MAX_TRIES + 3):
        await bench.later(30.0)
        await until(lambda: len(bench.counted) == len(bench.asked), f"the end of try {number}")
    assert bench.counted == ["refused"] * MAX_TRIES
    assert (bench.warmed, bench.tokens) == ([], [])
    state = bench.served.gateway.fleet.endpoints[bench.new]
    assert (state.load.in_flight, len(state.shadow)) == (0, 0)
    assert state.health.reachable, "it is nobody's request, and no evidence"


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "404 Not Found"])
async def test_what_an_engine_calls_wrong_is_not_said_twice(bench: Bench, status: str) -> None:
    bench.engines[bench.new].script = says(plain(b"{}", status))
    await warmed_up(bench)
    await bench.later(30.0)
    await bench.later(30.0)
    assert (len(bench.asked), bench.counted, bench.warmed) == (1, ["failed"], [])


async def test_an_engine_that_is_gone_ends_its_try_and_nothing_else(bench: Bench) -> None:
    await bench.engines[bench.new].stop()
    await warmed_up(bench)
    assert bench.counted == ["failed"]
    await bench.ask("goes on")


async def test_who_may_not_be_asked_is_not(bench: Bench) -> None:
    part = ModelOverlay(warm={f"{bench.key:016x}": (bench.new,)}, cordoned=(bench.new,))
    bench.served.gateway.fleet.apply(RoutingOverlay(models={MODEL: part}), bench.clock())
    await bench.later(0.0)
    await bench.ask("one")
    await bench.ask("two")
    await bench.later()
    await bench.later()
    assert not bench.asked


async def test_it_is_off_by_default() -> None:
    async with benched(PrewarmConfig()) as bench:
        bench.tell(bench.new)
        await bench.later()
        assert bench.served.gateway.on_placed is None
        await bench.ask("one")
        await bench.ask("two")
        await bench.later()
        assert not bench.asked


@pytest.mark.parametrize("limit", ["max_body_bytes", "max_kept_bytes"])
async def test_a_prompt_that_is_too_long_is_not_kept(limit: str) -> None:
    config = PrewarmConfig(enabled=True, **{limit: 4000})
    async with benched(config) as bench:
        bench.tell(bench.new)
        await bench.later(0.0)
        for text in ("one", "two", "three"):
            await bench.ask(text)
            await bench.later()
        assert not bench.asked


async def test_so_many_begin_in_a_second_and_so_many_are_under_way() -> None:
    config = PrewarmConfig(enabled=True, max_per_s=0.1, max_concurrent=1)
    async with benched(config) as bench:
        go = asyncio.Event()
        for engine in bench.engines.values():
            engine.script = says(go, plain())
        before = sum(len(engine.requests) for engine in bench.engines.values())

        def count() -> int:
            return sum(len(engine.requests) for engine in bench.engines.values()) - before

        bench.tell(*bench.engines)
        await bench.later(0.0)
        asking = [asyncio.create_task(bench.ask(text)) for text in ("one", "two")]
        await until(lambda: count() == 2, "the clients' own")
        await bench.later()
        await until(lambda: count() == 3, "the first")
        await bench.later(60.0)
        assert count() == 3, "one is under way"
        go.set()
        await asyncio.gather(*asking)
        await until(lambda: len(bench.counted) == 1, "its end")
        await bench.later(1.0)
        await until(lambda: len(bench.counted) == 2, "the second")
        await bench.later(5.0)
        assert count() == 4, "ten seconds are not over"
        await bench.later(5.0)
        await until(lambda: len(bench.counted) == 3, "the third")


async def test_a_priority_goes_where_engines_are_told_of_one() -> None:
    async with benched(PrewarmConfig(enabled=True, priority=100)) as bench:
        await warmed_up(bench)
        assert bench.asked[0]["priority"] == 100


async def test_a_new_configuration_begins_anew(bench: Bench) -> None:
    await warmed_up(bench)
    bench.prewarms.reconfigure(PrewarmConfig(), KeyConfig(), bench.fetcher)
    await bench.later()
    assert (bench.warmed, bench.served.gateway.on_placed) == ([], None)
    bench.prewarms.look(Monotonic(0.0))
