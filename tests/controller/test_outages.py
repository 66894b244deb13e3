"""An outage makes no fleet smaller: who is turned away asks for as much as who is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cardan.instants import WallTime
from cardan_controller.metrics.answers import Answer, Answers
from cardan_controller.metrics.asks import ASKS

from tests.controller.scene import Scene

if TYPE_CHECKING:
    from cardan_kube.api import Request

MODEL = ("n", "m")
THROUGHPUT = [{"type": "throughput", "throughput": {"tokensPerSecond": 1000}}]
AT_ONCE = {"stabilizationWindowSeconds": 0, "limits": [{"replicas": 100, "periodSeconds": 1}]}
IMPATIENT = {"scaleUp": AT_ONCE, "scaleDown": AT_ONCE}
POLICIES = pytest.mark.parametrize("policies", [THROUGHPUT, [{"type": "slo"}]])


async def known(policies: Any) -> Scene:
    """A fleet that has served 40 requests and 7000 tokens a second for ten minutes."""
    scene = Scene(replicas=8)
    scene.fleet(policies=policies, behavior=IMPATIENT, pool={"maxReplicas": 30})
    for _ in range(40):
        scene.load(40.0, 7000.0)
        await scene.tick()
    return scene


@POLICIES
async def test_a_fleet_grows_by_requests_that_are_shed_as_by_those_that_are_served(
    policies: Any,
) -> None:
    scene = await known(policies)
    before = scene.replicas["llama"]
    for _ in range(20):
        scene.load(40.0, 7000.0)  # what is served is what was served
        scene.values["requests"] = {MODEL: 80.0}
        scene.values["shed"] = {MODEL: 40.0}
        await scene.tick()
    assert scene.replicas["llama"] >= 1.5 * before


@POLICIES
@pytest.mark.parametrize("turned_away", [40.0, 0.0])
async def test_a_fleet_of_which_nobody_answers_keeps_its_size(
    policies: Any, turned_away: float
) -> None:
    scene = await known(policies)
    before = scene.replicas["llama"]
    for _ in range(20):
        scene.load(40.0, 0.0)
        scene.values |= {"answered": {MODEL: 0.0}, "shed": {MODEL: turned_away}}
        for name in ("in_flight", "running", "endpoint_hit_tokens", "endpoint_tokens"):
            scene.values[name] = {}
        scene.unready = scene.replicas["llama"]  # they are all made anew
        await scene.tick()
        assert scene.replicas["llama"] >= before


async def test_nothing_shrinks_while_anybody_is_turned_away_and_it_says_so() -> None:
    scene = await known(THROUGHPUT)
    before = scene.replicas["llama"]
    for _ in range(10):
        scene.load(5.0, 875.0)
        scene.values["shed"] = {MODEL: 0.2}
        await scene.tick()
    assert scene.replicas["llama"] == before
    reasons = scene.ticker.decisions["n", "llama"].pools[0].reasons
    words = "not lowered while 0.2 requests a second are turned away"
    assert words in [reason.message for reason in reasons]
    scene.load(5.0, 875.0)
    await scene.tick()
    assert scene.ticker.decisions["n", "llama"].pools[0].desired < before


async def test_measurements_are_no_younger_for_a_fleet_that_is_looked_at_between_two_ticks() -> (
    None
):
    scene = await known(THROUGHPUT)
    before = scene.replicas["llama"]
    scene.load(5.0, 875.0)
    answers = Answers(scene.now, {name: Answer(scene.values.get(name, {})) for name in ASKS})
    scene.now = WallTime(scene.now + 240.0)
    await scene.ticker.tick(scene.cluster(), answers, scene.now, only=[("n", "llama")])
    assert scene.ticker.decisions["n", "llama"].pools[0].desired == before
    status: Any = scene.api.written("status")[-1].body
    (healthy,) = (c for c in status["status"]["conditions"] if c["type"] == "MetricsHealthy")
    assert (healthy["status"], healthy["reason"]) == ("False", "MetricsStale")


async def test_a_fleet_that_was_never_heard_of_is_a_warning_once_and_says_what_to_check() -> None:
    scene = Scene()
    scene.fleet(policies=THROUGHPUT)
    for _ in range(20):
        await scene.tick()
    warned = [
        body["note"]
        for request in scene.api.written("events")
        if (body := _body(request))["type"] == "Warning"
    ]
    (note,) = warned
    assert note.startswith("MetricsHealthy: requests_per_s: no gateway in namespace 'n'")
    assert "check that its gateways run" in note
    scene.ticker = scene.operator()  # who leads next goes on from the status
    status: Any = scene.api.written("status")[-1].body
    scene.fleet(policies=THROUGHPUT, status=status["status"])
    scene.api.writes.clear()
    for _ in range(20):
        await scene.tick()
    assert scene.api.written("events") == []


def _body(request: Request) -> dict[str, Any]:
    assert isinstance(request.body, dict)
    return request.body
