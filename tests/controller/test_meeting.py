"""A tick over all fleets holds up none that cannot wait, and no fleet is carried out twice over."""

from __future__ import annotations

import asyncio
from typing import Any

from cardan.instants import WallTime
from cardan_controller.wakes import WakeRequest

from tests.controller.scene import Scene

KEY = ("n", "llama")
THROUGHPUT = [{"type": "throughput", "throughput": {"tokensPerSecond": 1000}}]
# So many that a tick over all of them is still deciding when one over a single fleet is over.
MANY = 200


def asleep() -> Scene:
    """One fleet that sleeps, and many after it that a tick looks at too."""
    scene = Scene(replicas=0)
    scene.fleet(policies=THROUGHPUT, scaleToZero={"idleSeconds": 60}, pool={"minReplicas": 0})
    for number in range(MANY):
        ref = {"kind": "Deployment", "name": f"other-{number}"}
        scene.fleet(f"other-{number}", policies=THROUGHPUT, pool={"scaleTargetRef": ref})
    scene.load(0.0, 0.0)
    return scene


async def decides(scene: Scene) -> asyncio.Task[set[tuple[str, str]]]:
    """A tick over all fleets that has decided for the first, and for some others."""
    tick = asyncio.create_task(scene.tick())
    for _ in range(5):
        await asyncio.sleep(0)
    return tick


async def test_a_fleet_is_woken_while_others_are_still_decided_for() -> None:
    scene = asleep()
    tick = await decides(scene)
    scene.wakes.note(WakeRequest("n", "m"), WallTime(scene.now + 0.1))
    assert await scene.tick(0.5, only={KEY}) == set()
    assert scene.replicas["llama"] == 1
    assert list(scene.ticker.decisions) == [KEY]  # the others' have yet to be
    assert KEY in await tick  # it was decided for before it was woken, and is looked at again
    assert scene.replicas["llama"] == 1
    assert len(scene.ticker.decisions) == MANY + 1
    assert len(scene.api.written("scale")) == 1


async def test_a_fleet_that_another_tick_is_writing_is_looked_at_again() -> None:
    scene = asleep()
    tick = await decides(scene)
    scene.wakes.note(WakeRequest("n", "m"), WallTime(scene.now + 0.1))
    scene.api.hold = asyncio.Event()
    woken = asyncio.create_task(scene.tick(0.5, only={KEY}))
    for _ in range(MANY):
        await asyncio.sleep(0)
    assert scene.ticker.decisions[KEY].pools[0].desired == 1
    scene.api.hold.set()
    assert await woken == set()
    assert KEY in await tick
    scales: list[Any] = [request.body for request in scene.api.written("scale")]
    assert [body["spec"]["replicas"] for body in scales] == [1]


async def test_a_fleet_that_goes_while_others_are_decided_for_claims_nothing() -> None:
    scene = asleep()
    tick = await decides(scene)
    gone = scene.fleets.get(KEY)
    assert gone is not None
    await scene.forget(gone)
    await scene.tick(0.1, only=())  # it is told of once, and another tick was told
    await tick
    assert KEY not in scene.ticker.decisions
    assert KEY not in scene.ticker._claims
