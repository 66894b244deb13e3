"""From the API's objects to the fleet: what each kind finds, who is held, what a reload changes."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

import pytest
from cardan.endpoint import Endpoint
from cardan.fleet import Fleet
from cardan_router.clock import monotonic
from cardan_router.discovery import Membership
from cardan_router.discovery.kubernetes.discovery import KubernetesDiscovery
from cardan_router.discovery_config import InferencePoolConfig, PodsConfig, ServiceConfig
from cardan_router.telemetry import Registry, metrics

from tests.fakes.kube import Answer, pod
from tests.fakes.waiting import settle, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cardan.fleet import EndpointState
    from cardan_router.discovery_config import KubernetesConfig

    from tests.fakes.kube import FakeKube, KubeState

PODS = "/api/v1/namespaces/ns/pods"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices"
POOLS = "/apis/inference.networking.k8s.io/v1/namespaces/ns/inferencepools"


class Bench:
    """Discovery with a fleet behind it."""

    def __init__(self, kube: FakeKube, kubeconfig: Path) -> None:
        self.kube = kube
        self.kubeconfig = str(kubeconfig)
        self.fleet = Fleet()
        self.gone: list[str] = []
        self.released: list[str] = []
        self.membership = Membership(
            self.fleet, monotonic, self._left, on_release=self.released.append
        )
        self.registry = Registry(metrics.ALL)
        self.discovery: KubernetesDiscovery | None = None
        self.task: asyncio.Task[None] | None = None

    def _left(self, gone: list[EndpointState]) -> None:
        self.gone += [str(state.id) for state in gone]

    def run(self, config: KubernetesConfig | None) -> KubernetesDiscovery:
        """Begin."""
        self.discovery = KubernetesDiscovery(
            config,
            lambda endpoints, held: self.membership.report("kubernetes", endpoints, held),
            self.registry,
            random.Random(1),
        )
        self.task = asyncio.ensure_future(self.discovery.run())
        return self.discovery

    def pods(
        self, ports: tuple[int | str, ...] = (8000,), selector: str = "app=vllm"
    ) -> PodsConfig:
        return PodsConfig(
            selector=selector, ports=ports, namespace="ns", kubeconfig=self.kubeconfig
        )

    def put(self, path: str, *objects: dict[str, Any]) -> KubeState:
        """Objects come or change."""
        state = self.kube.state(path)
        for one in objects:
            state.put(one)
        self.kube.flush()
        return state

    async def finds(self, *urls: str) -> None:
        """Wait until exactly these are the fleet."""
        await until(lambda: self.urls() == set(urls), f"{urls}, not {self.urls()}")

    def urls(self) -> set[str]:
        return {state.endpoint.url for state in self.fleet.endpoints.values()}

    def held(self) -> set[str]:
        return {str(s.id) for s in self.fleet.endpoints.values() if self.membership.holds(s)}


@pytest.fixture
async def bench(kube: FakeKube, tmp_path: Path) -> AsyncIterator[Bench]:
    """Discovery that ends with the test."""
    one = Bench(kube, kube.kubeconfig(tmp_path))
    yield one
    if one.task is not None:
        one.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await one.task


def one_slice(name: str, *addresses: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ns"},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8000}],
        "endpoints": [
            {"addresses": [address], "targetRef": {"kind": "Pod", "name": f"p-{address}"}}
            for address in addresses
        ],
    }


def pool(selector: dict[str, str], *ports: int) -> dict[str, Any]:
    return {
        "metadata": {"name": "llama", "namespace": "ns"},
        "spec": {
            "selector": {"matchLabels": selector},
            "targetPorts": [{"number": port} for port in ports],
        },
    }


async def test_pods_become_the_fleet(bench: Bench) -> None:
    bench.put(PODS, pod("a", "10.0.0.1"), pod("b", "10.0.0.2"))
    bench.run(bench.pods())
    await bench.finds("http://10.0.0.1:8000", "http://10.0.0.2:8000")
    bench.kube.state(PODS).delete("a")
    bench.kube.flush()
    await bench.finds("http://10.0.0.2:8000")
    assert bench.gone == ["a"]


async def test_a_pod_that_terminates_leaves_before_it_is_gone(bench: Bench) -> None:
    bench.put(PODS, pod("a"))
    bench.run(bench.pods())
    await bench.finds("http://10.0.0.1:8000")
    bench.put(PODS, pod("a", deleting=True))
    await bench.finds()


async def test_an_unready_pod_is_held_and_keeps_what_is_known_of_it(bench: Bench) -> None:
    bench.put(PODS, pod("a"))
    bench.run(bench.pods())
    await bench.finds("http://10.0.0.1:8000")
    (state,) = bench.fleet.endpoints.values()
    state.health.probe_succeeded()
    bench.put(PODS, pod("a", ready=False))
    await until(lambda: bench.held() == {"a"}, "a to be held")
    assert state.health.not_ready
    bench.put(PODS, pod("a"))
    await until(lambda: not bench.held(), "a to be released")
    assert bench.released == ["a"]
    assert list(bench.fleet.endpoints.values()) == [state]
    assert state.health.not_ready, "until a probe says otherwise"


async def test_another_pod_of_the_same_name_is_another_engine(bench: Bench) -> None:
    bench.put(PODS, pod("vllm-0", uid="one"))
    bench.run(bench.pods())
    await bench.finds("http://10.0.0.1:8000")
    before = next(iter(bench.fleet.endpoints.values()))
    bench.put(PODS, pod("vllm-0", uid="two"))
    await until(lambda: bench.gone == ["vllm-0"], "the first to leave")
    await bench.finds("http://10.0.0.1:8000")
    assert next(iter(bench.fleet.endpoints.values())) is not before


async def test_a_services_slices_become_the_fleet(bench: Bench) -> None:
    state = bench.put(SLICES, one_slice("s1", "10.0.0.1"), one_slice("s2", "10.0.0.2"))
    bench.run(ServiceConfig(name="vllm", namespace="ns", kubeconfig=bench.kubeconfig))
    await bench.finds("http://10.0.0.1:8000", "http://10.0.0.2:8000")
    state.delete("s1")
    bench.put(SLICES, one_slice("s2", "10.0.0.2", "10.0.0.3"))
    await bench.finds("http://10.0.0.2:8000", "http://10.0.0.3:8000")
    (query,) = bench.kube.lists()
    assert query["labelSelector"] == "kubernetes.io/service-name=vllm"


async def test_a_pools_ports_count_at_once_and_stale_ones_go(bench: Bench) -> None:
    bench.put(PODS, pod("a"))
    bench.put(POOLS, pool({"app": "vllm"}, 8000, 8001))
    bench.run(InferencePoolConfig(name="llama", namespace="ns", kubeconfig=bench.kubeconfig))
    await bench.finds("http://10.0.0.1:8000", "http://10.0.0.1:8001")
    bench.put(POOLS, pool({"app": "vllm"}, 8001))
    await bench.finds("http://10.0.0.1:8001")
    bench.put(POOLS, pool({"app": "vllm"}, 9000))
    await bench.finds("http://10.0.0.1:9000")
    selections = [query.get("fieldSelector") for query in bench.kube.lists()]
    assert selections == ["metadata.name=llama", None]


async def test_a_pool_that_selects_others_keeps_the_old_ones_until_it_knows_the_new(
    bench: Bench,
) -> None:
    bench.put(PODS, pod("a"))
    bench.put(POOLS, pool({"app": "vllm"}, 8000))
    bench.run(InferencePoolConfig(name="llama", namespace="ns", kubeconfig=bench.kubeconfig))
    await bench.finds("http://10.0.0.1:8000")
    await until(lambda: bench.kube.watches == 2, "both watches")
    bench.kube.say(Answer(500, "not now"))
    state = bench.kube.state(PODS)
    state.delete("a")  # the watch of the old selector is not told before the new list is there
    state.put(pod("b", "10.0.0.2"))
    bench.kube.state(POOLS).put(pool({"app": "other"}, 8000))
    only_pools = {w: s for w, s in bench.kube._watches.items() if s[0] is not state}
    held_back = {w: s for w, s in bench.kube._watches.items() if s[0] is state}
    bench.kube._watches = only_pools
    bench.kube.flush()
    await until(lambda: not bench.kube.answers, "the refusal")
    assert bench.urls() == {"http://10.0.0.1:8000"}
    await bench.finds("http://10.0.0.2:8000")
    assert bench.kube.lists()[-1]["labelSelector"] == "app=other"
    assert len(held_back) == 1
    await until(lambda: not set(held_back) & bench.kube._writers, "the old watch to end")


async def test_a_pool_that_is_deleted_leaves_nobody_and_may_come_back(bench: Bench) -> None:
    bench.put(PODS, pod("a"))
    bench.put(POOLS, pool({"app": "vllm"}, 8000))
    bench.run(InferencePoolConfig(name="llama", namespace="ns", kubeconfig=bench.kubeconfig))
    await bench.finds("http://10.0.0.1:8000")
    bench.kube.state(POOLS).delete("llama")
    bench.kube.flush()
    await bench.finds()
    bench.put(POOLS, pool({"app": "vllm"}, 8000))
    await bench.finds("http://10.0.0.1:8000")


async def test_all_namespaces_are_one_watch(bench: Bench) -> None:
    bench.put("/api/v1/pods", pod("a", namespace="one"), pod("b", "10.0.0.2", namespace="two"))
    bench.run(PodsConfig(selector="app=vllm", namespace="*", kubeconfig=bench.kubeconfig))
    await bench.finds("http://10.0.0.1:8000", "http://10.0.0.2:8000")
    assert set(bench.fleet.endpoints) == {"one/a", "two/b"}


async def test_the_namespace_is_the_kubeconfigs_where_none_is_said(bench: Bench) -> None:
    bench.put(PODS, pod("a"))
    bench.run(PodsConfig(selector="app=vllm", kubeconfig=bench.kubeconfig))
    await bench.finds("http://10.0.0.1:8000")


async def test_a_reload_keeps_the_old_list_until_the_new_one_has_come(bench: Bench) -> None:
    bench.put(PODS, pod("a"))
    discovery = bench.run(bench.pods())
    await bench.finds("http://10.0.0.1:8000")
    bench.kube.say(Answer(500, "not now"))
    discovery.reconfigure(bench.pods(ports=(9000,)))
    await until(lambda: not bench.kube.answers, "the refusal")
    assert bench.urls() == {"http://10.0.0.1:8000"}
    await bench.finds("http://10.0.0.1:9000")
    discovery.reconfigure(None)
    assert bench.urls() == set()
    await until(lambda: not bench.kube.watches, "the watch to end")
    assert discovery.connected() is None


async def test_an_event_that_comes_as_discovery_is_turned_off_brings_nobody_back(
    bench: Bench,
) -> None:
    bench.put(PODS, pod("a"))
    discovery = bench.run(bench.pods())
    await bench.finds("http://10.0.0.1:8000")
    await until(lambda: bench.kube.watches, "a watch")
    bench.put(PODS, pod("b", "10.0.0.2"))
    await asyncio.sleep(0)  # the event is in the socket
    discovery.reconfigure(None)
    assert bench.urls() == set()
    await until(lambda: not bench.kube.watches, "the watch to end")
    assert bench.urls() == set()


async def test_an_equal_configuration_changes_nothing(bench: Bench) -> None:
    bench.put(PODS, pod("a"))
    discovery = bench.run(bench.pods())
    await bench.finds("http://10.0.0.1:8000")
    discovery.reconfigure(bench.pods())
    await settle()
    assert len(bench.kube.lists()) == 1


async def test_until_the_first_list_it_says_what_is_waited_for(bench: Bench) -> None:
    await bench.kube.stop()
    discovery = bench.run(bench.pods())
    nobody = "no list of endpoints from the Kubernetes API: "
    assert discovery.waits_for() == nobody + "it has not answered yet"
    await until(lambda: "unreachable" in discovery.waits_for(), "the reason")
    assert discovery.waits_for() == nobody + "unreachable; the log says more", "no host, no account"
    assert discovery.connected() == 0
    assert discovery.silence_s() is None
    await bench.kube.start()
    await until(lambda: not discovery.waits_for(), "the first list, though it is empty")
    await until(lambda: discovery.connected() == 1, "a watch")
    assert (discovery.silence_s() or 0) < 10


async def test_nothing_is_waited_for_where_nothing_is_watched(bench: Bench) -> None:
    discovery = bench.run(None)
    await settle()
    assert discovery.waits_for() == ""
    assert discovery.connected() is None
    assert discovery.silence_s() is None


async def test_what_the_configuration_lists_is_not_held_by_a_pod_of_the_same_name(
    bench: Bench,
) -> None:
    bench.membership.report("config", [Endpoint(url="http://10.9.9.9:1", name="a")])
    bench.put(PODS, pod("a", ready=False), pod("b", "10.0.0.2", ready=False))
    bench.run(bench.pods())
    await bench.finds("http://10.9.9.9:1", "http://10.0.0.2:8000")
    assert bench.held() == {"b"}


async def test_who_was_hidden_by_the_configuration_is_held_as_soon_as_it_no_longer_is(
    bench: Bench,
) -> None:
    bench.membership.report("config", [Endpoint(url="http://10.0.0.1:8000", name="a")])
    bench.put(PODS, pod("a", ready=False), pod("b", "10.0.0.2"))
    bench.run(bench.pods())
    await bench.finds("http://10.0.0.1:8000", "http://10.0.0.2:8000")
    state = next(s for s in bench.fleet.endpoints.values() if str(s.id) == "a")
    state.health.probe_succeeded()
    assert bench.held() == set()
    bench.membership.report("config", [])
    assert bench.held() == {"a"}
    assert state.health.not_ready
    bench.membership.report("config", [Endpoint(url="http://10.0.0.1:8000", name="a")])
    assert bench.held() == set()
    assert bench.released == ["a"]
