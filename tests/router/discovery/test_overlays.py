"""RoutingOverlays from the API to the fleet: combined, followed, kept, and not missed where there
are none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING, Any

import pytest
from cardan.endpoint import Endpoint, EndpointId
from cardan.fleet import Fleet
from cardan.instants import Monotonic
from cardan.overlay import ModelOverlay, RoutingOverlay
from cardan_router.clock import monotonic
from cardan_router.discovery.kubernetes import overlays as kind
from cardan_router.discovery_config import PodsConfig
from cardan_router.logs import NEWS
from cardan_router.overlays import UNBORNE_S, Overlays

from tests.fakes.kube import Answer
from tests.fakes.waiting import settle, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.kube import FakeKube, KubeState

PATH = "/apis/cardan.dev/v1alpha1/namespaces/ns/routingoverlays"


def overlay(name: str, models: dict[str, Any], generation: int = 1) -> dict[str, Any]:
    """An object as the operator writes it."""
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"generation": generation, "models": models},
    }


class Bench:
    """A fleet of two, and whatever follows overlays for it."""

    def __init__(self, kube: FakeKube, kubeconfig: Path) -> None:
        self.kube = kube
        self.fleet = Fleet()
        self.fleet.update(
            [Endpoint(url=f"http://{n}:1", name=n, models=("m",)) for n in "ab"], Monotonic(0.0)
        )
        self.changes = 0
        self.config = PodsConfig(
            selector="app=vllm", namespace="elsewhere", kubeconfig=str(kubeconfig)
        )
        self.overlays = Overlays(self.config, self.fleet, monotonic, random.Random(1), self.changed)
        self.task: asyncio.Task[None] | None = None

    def changed(self) -> None:
        self.changes += 1

    def run(self) -> None:
        """Begin."""
        self.task = asyncio.ensure_future(self.overlays.run())

    def put(self, *objects: dict[str, Any]) -> KubeState:
        state = self.kube.state(PATH)
        for one in objects:
            state.put(one)
        self.kube.flush()
        return state

    def words(self) -> str:
        return self.fleet.overlay.words()

    async def says(self, words: str) -> None:
        """Wait until the fleet's overlay says this."""
        await until(lambda: self.words() == words, f"{words!r}, not {self.words()!r}")


@pytest.fixture
async def bench(kube: FakeKube, tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench that ends with its test."""
    one = Bench(kube, kube.kubeconfig(tmp_path))
    yield one
    if one.task is not None:
        one.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await one.task


async def test_overlays_of_the_gateways_own_namespace_are_followed(bench: Bench) -> None:
    state = bench.put(overlay("f", {"m": {"draining": ["a"], "weights": {"b": 0.5}}}))
    bench.run()
    await bench.says("m: weights b x 0.5, draining a")
    assert bench.fleet.endpoints[EndpointId("a")].draining
    assert bench.fleet.endpoints[EndpointId("b")].weight == 0.5
    assert (bench.overlays.namespace, bench.changes) == ("ns", 1)
    bench.put(overlay("f", {"m": {"cordoned": ["b"]}}, 2))
    await bench.says("m: cordoned b")
    assert bench.overlays.generation() == 2
    state.delete("f")
    bench.kube.flush()
    await bench.says("")
    assert not bench.fleet.endpoints[EndpointId("a")].draining
    assert (bench.overlays.generation(), bench.changes) == (None, 3)


async def test_several_are_combined_in_the_order_of_their_names(bench: Bench) -> None:
    key = "0" * 16
    bench.put(
        overlay("z", {"m": {"owners": {key: ["a"]}, "draining": ["a"]}}, 3),
        overlay("b", {"m": {"owners": {key: ["b"]}}, "other": {"dormant": {}}}, 4),
    )
    bench.run()
    await bench.says("m: 1 key moved, draining a; other: sleeps")
    assert bench.fleet.overlay.models["m"].owners == {key: (EndpointId("b"),)}
    assert bench.fleet.overlay.generation == 7
    bench.put(overlay("b", {}, 5))
    await until(
        lambda: bench.fleet.overlay.models["m"].owners == {key: (EndpointId("a"),)}, "the other"
    )


async def test_the_last_one_stays_while_the_api_cannot_be_reached(bench: Bench) -> None:
    state = bench.put(overlay("f", {"m": {"draining": ["a"]}}))
    bench.run()
    await bench.says("m: draining a")
    await until(lambda: bench.kube.watches, "a watch")
    await bench.kube.stop()
    state.put(overlay("f", {"m": {"draining": ["b"]}}))
    await settle()
    assert bench.words() == "m: draining a"
    await bench.kube.start()
    await bench.says("m: draining b")


async def test_an_object_that_cannot_be_read_any_more_counts_as_it_was(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.put(overlay("f", {"m": {"draining": ["a"]}}), overlay("g", {"m": {"cordoned": ["b"]}}))
    bench.run()
    await bench.says("m: draining a, cordoned b")
    state = bench.put(overlay("f", {"m": {"draining": 7}}, 2), overlay("g", {}, 2))
    await bench.says("m: draining a")
    assert "it is not used" in caplog.text
    bench.put(overlay("f", {"m": {"draining": ["b"], "pinned": ["a"]}}, 3))
    await bench.says("m: draining b")
    bench.put(overlay("f", {"m": {"draining": 7}}, 4))
    state.delete("f")
    bench.kube.flush()
    await bench.says("")


async def test_an_object_that_is_wrong_is_said_and_spoils_no_other(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, NEWS)
    bench.put(overlay("good", {"m": {"draining": ["a"]}}), overlay("bad", {"m": {"owners": 1}}))
    bench.run()
    await bench.says("m: draining a")
    assert "Expected `object`, got `int`" in caplog.text
    assert "routing overlay: m: draining a" in caplog.text


@pytest.mark.parametrize("refusal", [404, 403])
async def test_where_there_are_none_to_read_it_is_said_once_and_asked_again(
    bench: Bench,
    refusal: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, NEWS)
    monkeypatch.setattr(kind, "ABSENT_S", 0.02)
    bench.put(overlay("f", {"m": {"draining": ["a"]}}))
    bench.kube.say(*(Answer(refusal, f"no {n}") for n in range(3)))
    assert bench.overlays.waits_for(), "until it is known, one way or the other"
    bench.run()
    await until(lambda: not bench.overlays.waits_for(), "an answer")
    await bench.says("m: draining a")
    told = [record for record in caplog.records if "none are followed" in record.message]
    assert [record.levelname for record in told] == ["INFO"]
    assert "they are followed from now on" in caplog.text
    watcher = bench.overlays._watcher
    assert watcher is not None
    assert (watcher.link.fault, watcher.link.connected) == ("", True)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_that_they_may_be_read_no_longer_is_a_warning(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, NEWS)
    monkeypatch.setattr(kind, "ABSENT_S", 0.02)
    bench.put(overlay("f", {"m": {"draining": ["a"]}}))
    bench.run()
    await bench.says("m: draining a")
    await until(lambda: bench.kube.watches, "a watch")
    bench.kube.say(Answer(403, "not you"))
    bench.kube.cut()
    await until(lambda: "not you; what is known stays in force" in caplog.text, "a warning")
    assert bench.words() == "m: draining a"


async def test_a_reload_may_turn_it_off_and_on(bench: Bench) -> None:
    bench.put(overlay("f", {"m": {"draining": ["a"]}}))
    bench.run()
    await bench.says("m: draining a")
    off = PodsConfig(selector="app=vllm", kubeconfig=bench.config.kubeconfig, overlays=False)
    bench.overlays.reconfigure(off)
    assert (bench.words(), bench.overlays.waits_for()) == ("", "")
    await until(lambda: not bench.kube.watches, "the watch to end")
    bench.overlays.reconfigure(bench.config)
    await bench.says("m: draining a")
    bench.overlays.reconfigure(None)
    assert bench.words() == ""


async def test_what_another_cluster_said_is_void_in_one_that_says_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "ABSENT_S", 0.02)
    bench.put(overlay("f", {"m": {"draining": ["a"]}}))
    bench.run()
    await bench.says("m: draining a")
    bench.kube.say(Answer(503, "later"), *(Answer(404, "no such kind") for _ in range(100)))
    bench.overlays.reconfigure(PodsConfig(selector="x=y", kubeconfig=bench.config.kubeconfig))
    await settle()
    assert bench.words() == "m: draining a", "a server that only fails says nothing"
    await bench.says("")


def test_names_that_nobody_bears_for_a_while_are_told_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, NEWS)
    part = ModelOverlay(draining=(EndpointId("a"), EndpointId("old-7")))
    other = ModelOverlay(draining=(EndpointId("theirs"),))
    bench.fleet.apply(RoutingOverlay(models={"m": part, "elsewhere": other}), Monotonic(0.0))
    bench.overlays.look(0.0)
    bench.overlays.look(UNBORNE_S / 2)
    assert not caplog.records
    for n in range(1, 4):
        bench.overlays.look(n * UNBORNE_S)
    assert [record.message for record in caplog.records] == [
        "routing overlay: no endpoint is called old-7"
    ]
