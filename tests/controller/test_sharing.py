"""Two fleets of one model are each sized for what their own endpoints get, not both for all."""

from __future__ import annotations

from typing import Any

import pytest
from cardan_controller.carrying import home_of
from cardan_controller.metrics.answers import Answer, Answers, Labels
from cardan_controller.metrics.asks import ASKS
from cardan_controller.sharing import Sharing

from tests.controller.scene import Scene

AT_ONCE = {"stabilizationWindowSeconds": 0, "limits": [{"replicas": 100, "periodSeconds": 1}]}
IMPATIENT = {"scaleUp": AT_ONCE, "scaleDown": AT_ONCE}
THROUGHPUT = [{"type": "throughput", "throughput": {"tokensPerSecond": 1000}}]


def target(name: str) -> dict[str, Any]:
    return {"scaleTargetRef": {"kind": "Deployment", "name": name}, "maxReplicas": 20}


def scene_of(**replicas: int) -> Scene:
    """A Deployment each."""
    scene = Scene()
    scene.replicas = dict(replicas)
    scene.writers = dict.fromkeys(replicas, ("kubectl",))
    return scene


def parts(scene: Scene, **tokens: float) -> dict[str, float]:
    """Whose part is what, where pods get so many tokens a second."""
    got: dict[Labels, float] = {
        ("n", name.replace("_", "-")): value for name, value in tokens.items()
    }
    by_name = {name: Answer(got if name == "endpoint_tokens" else {}) for name in ASKS}
    fleets = [fleet for _, fleet in scene.fleets]
    sharing = Sharing(fleets, scene.cluster(), Answers(scene.now, by_name))
    return {
        fleet.meta.name: sharing.part(home_of(fleet), fleet.spec) for fleet in fleets if fleet.spec
    }


def test_each_has_the_part_that_its_own_endpoints_get() -> None:
    scene = scene_of(big=2, canary=1)
    scene.fleet("big", pool=target("big"))
    scene.fleet("canary", pool=target("canary"))
    told = parts(scene, big_0=400.0, big_1=500.0, canary_0=100.0, stranger_0=5000.0)
    assert told == pytest.approx({"big": 0.9, "canary": 0.1})


def test_a_fleet_alone_with_its_model_has_all_of_it() -> None:
    scene = scene_of(one=1, other=1)
    scene.fleet("one", pool=target("one"))
    scene.fleet("other", pool=target("other"), model="another")
    assert parts(scene, one_0=1.0, other_0=9.0) == {"one": 1.0, "other": 1.0}


def test_fleets_that_mean_the_same_pods_each_have_all_that_these_get() -> None:
    scene = scene_of(llama=2)
    scene.fleet("applied", pool=target("llama"))
    scene.fleet("tried", pool=target("llama"), mode="Recommend")
    assert parts(scene, llama_0=10.0, llama_1=20.0) == {"applied": 1.0, "tried": 1.0}


def test_where_nothing_flows_or_nobody_is_ready_replicas_tell() -> None:
    scene = scene_of(one=3, two=1)
    for name in ("one", "two"):
        scene.fleet(name, pool=target(name))
    assert parts(scene) == {"one": 0.75, "two": 0.25}
    scene.unready = 1  # of each: nobody of two, which gets nothing
    assert parts(scene, one_0=10.0)["two"] == 0.25
    scene.replicas = {"one": 0, "two": 0}
    assert parts(scene) == {"one": 1.0, "two": 1.0}


async def test_together_they_have_what_the_model_needs() -> None:
    scene = scene_of(one=1, two=1)
    for name in scene.replicas:
        scene.fleet(name, policies=THROUGHPUT, behavior=IMPATIENT, pool=target(name))
    for _ in range(8):
        scene.load(5.0, 6000.0)
        scene.values["in_flight"] = dict.fromkeys(scene.values["in_flight"], 2.0)
        await scene.tick()
    assert scene.replicas == {"one": 4, "two": 4}  # 6.6 are needed, and as many as get the half


def condition(scene: Scene, fleet: str) -> tuple[str, str, str]:
    """What its last status says of sharing demand."""
    written = [r for r in scene.api.written("status") if f"/{fleet}/" in r.path]
    body: Any = written[-1].body
    (found,) = (one for one in body["status"]["conditions"] if one["type"] == "DemandShared")
    return found["status"], found["reason"], found.get("message", "")


async def test_each_of_them_says_with_whom_it_shares() -> None:
    scene = scene_of(big=2, canary=1, alone=1)
    scene.fleet("big", pool=target("big"))
    scene.fleet("alone", pool=target("alone"), model="another")
    await scene.tick()
    assert condition(scene, "big")[:2] == ("False", "NobodyElse")
    scene.fleet("canary", pool=target("canary"))
    await scene.tick()
    assert condition(scene, "big") == (
        "True",
        "SameModel",
        "n/canary serves m at these gateways too: each is sized for what its own endpoints get",
    )
    assert condition(scene, "canary")[2].startswith("n/big serves m")
    assert condition(scene, "alone")[:2] == ("False", "NobodyElse")


async def test_a_third_one_is_news_and_numbers_are_none() -> None:
    scene = scene_of(**dict.fromkeys("abcdefgh", 1))
    for name in "ab":
        scene.fleet(name, pool=target(name))
    for requests in (5.0, 6.0):
        scene.load(requests, 100.0 * requests)
        await scene.tick()
    told = len(scene.api.written("status"))
    scene.load(7.0, 650.0)
    await scene.tick()
    assert len(scene.api.written("status")) == told
    for name in "cdefgh":
        scene.fleet(name, pool=target(name))
    await scene.tick()
    assert condition(scene, "a")[2].startswith("n/b, n/c, n/d, n/e, n/f and 2 more serve m")


async def test_a_fleet_that_only_recommends_for_the_same_pods_takes_no_part() -> None:
    scene = scene_of(llama=2)
    scene.fleet("applied", pool=target("llama"))
    scene.fleet("tried", pool=target("llama"), mode="Recommend")
    await scene.tick()
    assert condition(scene, "applied")[:2] == ("False", "NobodyElse")
