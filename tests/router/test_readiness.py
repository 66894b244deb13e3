"""Readiness: not with one engine of eight, not never, and once ready ready to the end."""

from __future__ import annotations

from cardan.endpoint import Endpoint
from cardan.fleet import EndpointState, Fleet
from cardan.instants import Monotonic
from cardan.overlay import Dormant, ModelOverlay, RoutingOverlay
from cardan_router.readiness import PATIENCE_S, Readiness


class Bench:
    """A fleet, who of it has joined, and a clock."""

    def __init__(self, *names: str) -> None:
        self.fleet = Fleet()
        self.set_members(*names)
        self.joined: set[str] = set()
        self.draining = False
        self.now = 0.0
        self.waits_for = ""
        self.readiness = Readiness(
            self.fleet,
            self.has_joined,
            lambda: self.draining,
            lambda: self.now,
            lambda: self.waits_for,
        )

    def has_joined(self, state: EndpointState) -> bool:
        return str(state.id) in self.joined

    def set_members(self, *names: str) -> None:
        self.fleet.update(
            [Endpoint(url=f"http://{name}:1", name=name) for name in names], Monotonic(0.0)
        )

    def look(self) -> bool:
        return self.readiness.look().ready


def test_ready_when_all_have_joined() -> None:
    bench = Bench("a", "b")
    assert bench.readiness.look() == (False, "no endpoint has answered yet")
    bench.joined.add("a")
    assert bench.readiness.look() == (False, "1 of 2 endpoints have not answered yet")
    bench.joined.add("b")
    assert bench.look()


def test_ready_with_some_after_a_while() -> None:
    bench = Bench("a", "b")
    bench.joined.add("a")
    bench.now = PATIENCE_S
    assert bench.look()


def test_never_ready_with_none() -> None:
    bench = Bench("a")
    bench.now = 1e6
    assert not bench.look()
    bench.set_members()
    assert bench.readiness.look() == (False, "no endpoint is known")


def test_ready_stays_ready_until_shutdown() -> None:
    bench = Bench("a")
    bench.joined.add("a")
    assert bench.look()
    bench.joined.clear()
    bench.set_members("b")
    assert bench.look()
    bench.draining = True
    assert bench.readiness.look() == (False, "shutting down")


def test_the_start_has_not_begun_before_every_source_has_told_its_list() -> None:
    bench = Bench("a", "b")
    bench.joined = {"a", "b"}
    bench.waits_for = "no list yet: connection refused"
    assert bench.readiness.look() == (False, "no list yet: connection refused")
    bench.joined = {"a"}
    bench.now = 60.0
    assert not bench.look()
    bench.waits_for = ""
    assert bench.readiness.look() == (False, "1 of 2 endpoints have not answered yet")
    bench.now = 60.0 + PATIENCE_S
    assert bench.look()
    bench.waits_for = "lost again"
    assert bench.look(), "once ready, ready to the end"


def test_a_fleet_whose_models_sleep_is_ready_for_requests_wait_nowhere_else() -> None:
    asleep = RoutingOverlay(models={"m": ModelOverlay(dormant=Dormant())})
    bench = Bench()
    assert not bench.look()
    bench.fleet.apply(asleep, Monotonic(0.0))
    bench.waits_for = "the list"
    assert not bench.look(), "not before it is known who is there"
    bench.waits_for = ""
    assert bench.look()


def test_one_model_that_sleeps_does_not_hurry_the_engines_of_another() -> None:
    asleep = RoutingOverlay(models={"m": ModelOverlay(dormant=Dormant())})
    bench = Bench("a", "b")
    bench.fleet.apply(asleep, Monotonic(0.0))
    assert bench.readiness.look() == (False, "no endpoint has answered yet")
    bench.joined.add("a")
    assert not bench.look(), "one of them is still coming"
    bench.joined.clear()
    bench.now = PATIENCE_S
    assert bench.look(), "if none comes, requests for the sleeper wait here and nowhere else"
