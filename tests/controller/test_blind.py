"""While the cluster is not heard fleets grow, and nothing that is there is taken."""

from __future__ import annotations

from typing import Any

import pytest
from cardan.scaling.decision import ReasonCode

from tests.controller.scene import Scene
from tests.controller.test_ticking import IMPATIENT, KEY, THROUGHPUT

WORDS = "pods of all namespaces: pods is forbidden"
FAST: dict[str, Any] = {"policies": THROUGHPUT, "behavior": IMPATIENT}


async def looked(scene: Scene, tokens: float, ticks: int = 6) -> None:
    """Ticks under a load."""
    scene.load(5.0, tokens)
    for _ in range(ticks):
        await scene.tick()


def condition(scene: Scene, type_: str) -> Any:
    """A condition, as it was told last."""
    told: Any = scene.api.written("status")[-1].body
    return next(one for one in told["status"]["conditions"] if one["type"] == type_)


async def test_nothing_shrinks_and_it_is_said_why() -> None:
    scene = Scene(replicas=4)
    scene.fleet(**FAST, drain={"deadlineSeconds": 0})
    scene.stale = WORDS
    await looked(scene, 500.0)
    assert scene.replicas["llama"] == 4
    assert not scene.overlays
    healthy = condition(scene, "MetricsHealthy")
    assert (healthy["status"], healthy["reason"], healthy["message"]) == (
        "False",
        "ClusterStale",
        WORDS,
    )
    assert condition(scene, "ScalingLimited")["reason"] == "ClusterStale"
    told: Any = scene.api.written("status")[-1].body
    assert told["status"]["metrics"][0]["input"] == "cluster"
    assert told["status"]["pools"][0]["reason"] == ReasonCode.CLUSTER_STALE.value
    scene.stale = ""
    await looked(scene, 500.0)
    assert scene.replicas["llama"] == 1
    assert condition(scene, "MetricsHealthy")["status"] == "True"


async def test_it_grows() -> None:
    scene = Scene(replicas=1)
    scene.fleet(**FAST)
    scene.stale = WORDS
    await looked(scene, 2500.0, ticks=1)
    assert scene.replicas["llama"] == 3


async def test_nobody_is_put_to_sleep_and_who_sleeps_is_woken() -> None:
    scene = Scene(replicas=1)
    asleep = {**FAST, "scaleToZero": {"idleSeconds": 60}, "pool": {"minReplicas": 0}}
    scene.fleet(**asleep, drain={"deadlineSeconds": 0})
    scene.stale = WORDS
    await looked(scene, 0.0, ticks=12)
    assert scene.replicas["llama"] == 1
    scene.replicas["llama"] = 0
    await looked(scene, 500.0, ticks=1)
    assert scene.replicas["llama"] == 1


async def test_a_drain_that_has_begun_stays_where_it_is() -> None:
    scene = Scene(replicas=3)
    scene.fleet(**FAST, drain={"deadlineSeconds": 30})
    await looked(scene, 2500.0, ticks=1)
    await looked(scene, 500.0, ticks=1)
    before = scene.ticker._known[KEY].memory.drains
    assert before.victims
    scene.stale = WORDS
    await looked(scene, 500.0)
    assert scene.ticker._known[KEY].memory.drains == before
    assert scene.overlays["n/llama"].models["m"].draining
    assert scene.replicas["llama"] == 3
    scene.stale = ""
    await looked(scene, 500.0)
    assert scene.replicas["llama"] == 1


@pytest.mark.parametrize("stale", ["", WORDS])
async def test_no_engine_is_restarted(stale: str) -> None:
    scene = Scene(replicas=3)
    scene.fleet(replicas=3, failureDetection={"afterSeconds": 30})
    scene.stale = stale
    for _ in range(12):
        scene.load(5.0, 500.0)
        tokens: dict[tuple[str, ...], float] = {("n", pod.name): 100.0 for pod in scene.pods()}
        scene.values["endpoint_output_tokens"] = {**tokens, ("n", "llama-0"): 0.0}
        scene.values["scrape_age_s"] = dict.fromkeys(tokens, 1.0)
        await scene.tick()
    deleted = [request for request in scene.api.written("pods") if request.method == "DELETE"]
    restarts = scene.ticker._known[KEY].memory.failing.restarts
    assert bool(deleted) == bool(restarts) == (not stale)
