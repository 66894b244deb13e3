"""Visits to endpoints: each on its own schedule, bounded, and one bad visit harms no other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING

from cardan.endpoint import Endpoint
from cardan.fleet import Fleet
from cardan.instants import Monotonic
from cardan_router.rounds import Rounds

from tests.fakes.waiting import until

if TYPE_CHECKING:
    import pytest
    from cardan.fleet import EndpointState


def fleet_of(*names: str) -> Fleet:
    """A fleet of endpoints that nobody connects to."""
    fleet = Fleet()
    set_members(fleet, *names)
    return fleet


def set_members(fleet: Fleet, *names: str) -> None:
    """Make the fleet exactly these."""
    fleet.update([Endpoint(url=f"http://{name}:1", name=name) for name in names], Monotonic(0.0))


class Visitor:
    """Counts visits; `gate` holds them in the air."""

    def __init__(self, wait_s: float = 0.0) -> None:
        self.visits: list[str] = []
        self.in_air = 0
        self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.wait_s = wait_s
        self.bad = ""

    async def __call__(self, state: EndpointState) -> float:
        self.visits.append(state.id)
        self.in_air += 1
        self.most = max(self.most, self.in_air)
        try:
            if state.id == self.bad:
                raise RuntimeError("a bug in a visit")
            await self.gate.wait()
        finally:
            self.in_air -= 1
        return self.wait_s


@contextlib.asynccontextmanager
async def running(rounds: Rounds):  # type: ignore[no-untyped-def]  # noqa: ANN201
    """Rounds that run while the test does."""
    task = asyncio.create_task(rounds.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def rounds_of(fleet: Fleet, visitor: Visitor, concurrent: int = 8, per_s: float = 1e6) -> Rounds:
    """Rounds with a fixed seed."""
    return Rounds(
        "test", fleet, visitor, random.Random(1), max_concurrent=concurrent, max_per_s=per_s
    )


async def test_every_endpoint_is_visited_again_and_again() -> None:
    visitor = Visitor()
    async with running(rounds_of(fleet_of("a", "b", "c"), visitor)):
        await until(lambda: all(visitor.visits.count(name) >= 3 for name in "abc"))


async def test_no_more_than_the_bound_are_in_the_air() -> None:
    visitor = Visitor()
    visitor.gate.clear()
    async with running(rounds_of(fleet_of(*"abcdef"), visitor, concurrent=2)):
        await until(lambda: visitor.in_air == 2)
        visitor.gate.set()
        await until(lambda: len(set(visitor.visits)) == 6)
    assert visitor.most == 2


async def test_a_bound_that_a_reload_has_raised_holds_from_then_on() -> None:
    visitor = Visitor()
    visitor.gate.clear()
    rounds = rounds_of(fleet_of(*"abcdef"), visitor, concurrent=2)
    async with running(rounds):
        await until(lambda: visitor.in_air == 2)
        rounds.reconfigure(max_concurrent=5, max_per_s=1e6)
        await until(lambda: visitor.in_air == 5)


async def test_who_joins_is_visited_and_who_leaves_is_not() -> None:
    visitor = Visitor()
    fleet = fleet_of("a")
    async with running(rounds_of(fleet, visitor)):
        await until(lambda: "a" in visitor.visits)
        set_members(fleet, "b")
        await until(lambda: visitor.visits.count("b") >= 2)
        seen = visitor.visits.count("a")
        await until(lambda: visitor.visits.count("b") >= 4)
        assert visitor.visits.count("a") == seen


async def test_a_visit_in_the_air_ends_when_its_endpoint_leaves_and_with_the_rounds() -> None:
    visitor = Visitor()
    visitor.gate.clear()
    fleet = fleet_of("a", "b")
    async with running(rounds_of(fleet, visitor)):
        await until(lambda: visitor.in_air == 2)
        set_members(fleet, "b")
        await until(lambda: visitor.in_air == 1)
    await until(lambda: visitor.in_air == 0)


async def test_a_bug_in_one_visit_is_logged_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    visitor = Visitor()
    visitor.bad = "a"
    with caplog.at_level(logging.ERROR):
        async with running(rounds_of(fleet_of("a", "b"), visitor)):
            await until(lambda: visitor.visits.count("b") >= 3)
    assert visitor.visits.count("a") == 1
    assert "test of a failed" in caplog.text


async def test_a_large_fleet_is_visited_more_slowly() -> None:
    visitor = Visitor()
    async with running(rounds_of(fleet_of("a", "b"), visitor, per_s=0.001)):
        await until(lambda: len(visitor.visits) == 2)
        await asyncio.sleep(0.2)
    assert len(visitor.visits) == 2


async def test_who_is_in_a_hurry_is_visited_before_its_turn() -> None:
    visitor = Visitor(wait_s=1000.0)
    rounds = rounds_of(fleet_of("a", "b"), visitor)
    async with running(rounds):
        await until(lambda: sorted(visitor.visits) == ["a", "b"])
        rounds.hurry("a")
        rounds.hurry("nobody")
        await until(lambda: visitor.visits.count("a") == 2)
        assert visitor.visits.count("b") == 1


async def test_a_hurry_while_a_visit_is_in_the_air_is_another_visit() -> None:
    visitor = Visitor(wait_s=1000.0)
    visitor.gate.clear()
    rounds = rounds_of(fleet_of("a"), visitor)
    async with running(rounds):
        await until(lambda: visitor.in_air == 1)
        rounds.hurry("a")
        visitor.gate.set()
        await until(lambda: len(visitor.visits) == 2)


async def test_in_a_large_fleet_those_about_to_join_do_not_wait_for_the_many() -> None:
    visitor = Visitor()
    names = [f"e{number}" for number in range(50)]
    rounds = Rounds(
        *("test", fleet_of(*names), visitor, random.Random(1)),
        max_concurrent=8,
        max_per_s=10.0,  # a round takes five seconds
        eager=lambda state: state.id == "e7",
    )
    async with running(rounds):
        await until(lambda: visitor.visits.count("e7") >= 4)
    assert max(visitor.visits.count(name) for name in names if name != "e7") == 1
