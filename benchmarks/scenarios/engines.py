"""Scenarios that an engine causes: it dies, refuses, returns, errs, or hangs up."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from benchmarks.fake_engine import (
    Connection,
    Request,
    break_head,
    complete,
    fail,
    refuse,
    reset,
)
from benchmarks.scenarios.stage import Finding, Stage, stage, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.candidates import Candidate

PREFIX = "You are a careful assistant. " * 300  # 8.7 KB: several prefix blocks
AFTER_DEATH = 20
RECOVERY_WATCH_S = 75.0  # one of the peers refuses for a minute
OUTAGE_S = 10.0
RETURN_LIMIT_S = 5.0
RETURN_WATCH_S = 60.0
EVERY_S = 0.05
MOST_TRIES = 2
RACES = 100


async def owner_dies(candidate: Candidate) -> Finding:
    """The engine that holds a prefix is killed: the prefix's next requests go elsewhere."""
    async with stage(candidate) as play:
        for number in range(8):
            await play.ask(f"{PREFIX}{number}")
        owner = max(play.engines, key=lambda engine: len(engine.posts))
        owner.die()
        answers = [await play.ask(f"{PREFIX}after {n}", 10.0) for n in range(AFTER_DEATH)]
    failed = sorted({answer.status for answer in answers if answer.status != 200})
    count = sum(answer.status != 200 for answer in answers)
    statuses = f" ({', '.join(map(str, failed))})" if failed else ""
    return Finding(not count, f"{count} of {AFTER_DEATH} failed{statuses}")


async def all_refuse(candidate: Candidate) -> Finding:
    """Every engine says 503 for a second and is then well: so must the gateway be."""
    async with stage(candidate, refuse) as play:
        await _keep_asking(play, 1.0)
        play.script(complete)
        recovered = time.monotonic()
        first = (await play.ask(deadline_s=10.0)).status
        served_s = 0.0 if first == 200 else await _until_served(play, recovered)
    if first == 200:
        return Finding(True, "the first was served")
    later = f"served after {served_s:.0f} s" if served_s else f"none in {RECOVERY_WATCH_S:.0f} s"
    return Finding(False, f"the first got {first}, {later}")


async def _until_served(play: Stage, since: float) -> float:
    while time.monotonic() - since < RECOVERY_WATCH_S:
        await asyncio.sleep(0.1)
        if (await play.ask(deadline_s=10.0)).status == 200:
            return time.monotonic() - since
    return 0.0


async def engine_returns(candidate: Candidate) -> Finding:
    """An engine is gone for ten seconds and comes back: it must be used again soon."""
    async with stage(candidate) as play:
        gone = play.engines[0]
        gone.die()
        await _keep_asking(play, OUTAGE_S)
        gone.requests.clear()
        await gone.start()
        asking = asyncio.create_task(_keep_asking(play, RETURN_WATCH_S))
        took_s = await until(lambda: bool(gone.posts), RETURN_WATCH_S)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    if took_s is None:
        return Finding(False, f"no traffic in {RETURN_WATCH_S:.0f} s")
    return Finding(took_s <= RETURN_LIMIT_S, f"traffic after {took_s:.1f} s")


async def internal_error(candidate: Candidate) -> Finding:
    """A 500 is an answer: it goes to the client as it is and to no other engine."""
    async with stage(candidate, fail) as play:
        answer = await play.ask()
        tries = play.tries()
    return Finding(tries == 1 and answer.status == 500, f"{tries} tries, {answer.status}")


async def poisonous_reset(candidate: Candidate) -> Finding:
    """A prompt that makes engines reset the connection must not visit the whole fleet."""
    return await _poison(candidate, reset)


async def poisonous_head(candidate: Candidate) -> Finding:
    """The same with an engine that answers nonsense."""
    return await _poison(candidate, break_head)


async def _poison(candidate: Candidate, script: Callable[[Connection, Request], None]) -> Finding:
    async with stage(candidate, script) as play:
        answer = await play.ask()
        tries = play.tries()
        visited = sum(bool(engine.posts) for engine in play.engines)
    figure = f"{tries} tries on {visited} engines, {answer.status or 'no answer'}"
    return Finding(tries <= MOST_TRIES and answer.status >= 500, figure)


async def keep_alive_race(candidate: Candidate) -> Finding:
    """An engine hangs up on an idle connection just as the next request comes: never an error."""
    async with stage(candidate, _hang_up_on_the_second) as play:
        reused = [(await play.ask(deadline_s=10.0)).status for _ in range(RACES)]
    async with stage(candidate, _answer_and_hang_up) as play:
        closed = [(await play.ask(deadline_s=10.0)).status for _ in range(RACES)]
    failed = sum(status != 200 for status in (*reused, *closed))
    return Finding(not failed, f"{failed} of {2 * RACES} failed")


def _hang_up_on_the_second(connection: Connection, request: Request) -> None:
    if request.nth > 1:
        connection.transport.abort()
    else:
        complete(connection, request)


def _answer_and_hang_up(connection: Connection, request: Request) -> None:
    complete(connection, request)
    connection.transport.close()


async def _keep_asking(play: Stage, seconds: float) -> None:
    """New prompts at 20 a second, each not waited for by the next."""
    start, asked = time.monotonic(), []
    while time.monotonic() - start < seconds:
        asked.append(asyncio.create_task(play.ask(deadline_s=10.0)))
        await asyncio.sleep(EVERY_S)
    await asyncio.gather(*asked)
