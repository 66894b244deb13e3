"""An endpoint's standing: one line for each change, none for a back-off that runs out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cardan.endpoint import Endpoint, EngineKind
from cardan.fleet import EndpointState, Fleet
from cardan.health import Verdict
from cardan.instants import Monotonic
from cardan_router.standing import Herald, standing

if TYPE_CHECKING:
    import pytest


class Watch:
    """A fleet of two that have joined, looked at once a second."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.fleet = Fleet()
        self.fleet.update([Endpoint(url=f"http://{n}:1", name=n) for n in "ab"], Monotonic(0))
        self.a, self.b = self.fleet.endpoints.values()
        for state in (self.a, self.b):
            self.fleet.introspected(state, ["m"], EngineKind.VLLM)
        self.herald = Herald(self.fleet, lambda _: True)
        self.now = 100.0
        self._caplog = caplog
        caplog.set_level(logging.INFO)

    def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            self.herald.look(Monotonic(self.now))

    def fail(self, state: EndpointState) -> None:
        for _ in range(3):
            state.health.request_failed(Monotonic(self.now))

    def said(self) -> list[str]:
        lines = [record.getMessage() for record in self._caplog.records]
        self._caplog.clear()
        return lines


def test_an_endpoint_that_keeps_failing_is_said_to_be_ejected_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = Watch(caplog)
    watch.pass_s(3)
    assert watch.said() == []
    for _ in range(5):  # each time its back-off runs out, and the next try fails
        watch.fail(watch.a)
        watch.pass_s(3)
    assert watch.said() == ["a is ejected: its probes or its requests keep failing"]


def test_its_return_is_said_once_when_a_request_is_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = Watch(caplog)
    watch.fail(watch.a)
    watch.pass_s(2)
    watch.said()
    watch.a.health.request_succeeded()
    watch.pass_s(5)
    assert watch.said() == ["a is healthy again after 2.0 s"]


def test_its_return_is_said_without_traffic_too(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(caplog)
    watch.fail(watch.a)
    watch.pass_s(1)
    watch.said()
    watch.pass_s(10)
    (line,) = watch.said()
    assert line.startswith("a is healthy again after")


def test_a_trial_of_what_is_down_is_no_return(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(caplog)
    watch.a.health.unreachable(Monotonic(watch.now))
    watch.pass_s(30)
    assert watch.a.health.verdict(Monotonic(watch.now)) is Verdict.HEALTHY  # it may be tried
    assert standing(watch.a, Monotonic(watch.now)) is Verdict.DOWN
    assert watch.said() == ["a is down: no connection can be made"]
    watch.a.health.probe_succeeded()
    watch.pass_s(1)
    (line,) = watch.said()
    assert line.startswith("a is healthy again after")


def test_that_nobody_is_left_is_said_and_that_somebody_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = Watch(caplog)
    for state in (watch.a, watch.b):
        state.health.unreachable(Monotonic(watch.now))
    watch.pass_s(5)
    assert watch.said()[2:] == ["no endpoint is healthy: requests wait, or are answered 503"]
    watch.b.health.probe_succeeded()
    watch.pass_s(5)
    assert watch.said()[1:] == ["1 of 2 endpoints are healthy"]


def test_who_has_left_is_forgotten_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(caplog)
    watch.a.health.unreachable(Monotonic(watch.now))
    watch.pass_s(1)
    watch.said()
    watch.fleet.update([watch.b.endpoint], Monotonic(watch.now))
    watch.pass_s(5)
    assert watch.said() == []
