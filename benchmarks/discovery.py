"""Discovery by the Kubernetes API at size: 1,000 pods, ten changes a second.

    python -m benchmarks.discovery [--pods 1000] [--rate 10] [--seconds 30]

A real API server (the tests' API-only cluster), pods whose status is written here, an engine behind
each at a loopback address, one gateway. Measured, from outside the gateway:

- its CPU while nothing changes and while pods become unready, ready, are deleted and created; the
  difference is what discovery costs, with all that follows from a change (probes of who joins, a
  fleet made anew);
- its memory with no pod, with all of them, and after the changes;
- from a pod's readiness (the API has answered the patch) to its membership (the engine was probed);
- from a pod's unreadiness or deletion to the last request it got, under load to all pods in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_kube_config

from benchmarks import procfs
from benchmarks.pod_engines import address
from benchmarks.processes import free_port
from e2e.cluster import up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

NAMESPACE = "bench"
SELECTOR = "app=vllm"
SETTLE_S = 8.0  # after a thousand joins: probes find their rhythm, garbage is collected
CLIENTS = 4  # each asks as soon as it has its answer: some 300 requests a second in all
START_S = 120.0


class Api:
    """Writes pods and their status."""

    def __init__(self, client: Any, port: int) -> None:  # noqa: ANN401 - it is not typed
        self._client = client
        self._port = port

    async def create(self, number: int, *, ready: bool = True) -> None:
        """A pod that runs at its engine's address."""
        name = f"engine-{number}"
        spec = {
            "nodeName": "nowhere",
            "containers": [
                {
                    "name": "vllm",
                    "image": "none",
                    "ports": [{"name": "http", "containerPort": self._port}],
                    "resources": {"requests": {"cpu": "8", "memory": "64Gi"}},
                    "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}},
                    "env": [{"name": f"VARIABLE_{i}", "value": "x" * 40} for i in range(20)],
                }
            ],
        }
        meta = {"name": name, "labels": {"app": "vllm", "pod-template-hash": "5d8f"}}
        await self._ask("POST", "", {"metadata": meta, "spec": spec})
        await self.set(number, ready=ready)

    async def set(self, number: int, *, ready: bool) -> None:
        """Write its status."""
        where = address(number)
        status = {
            "phase": "Running",
            "podIP": where,
            "podIPs": [{"ip": where}],
            "conditions": [
                {"type": kind, "status": str(ready if kind == "Ready" else True)}
                for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
            ],
        }
        await self._ask("PATCH", f"/engine-{number}/status", {"status": status})

    async def delete(self, number: int) -> None:
        """Ask for its deletion: it terminates."""
        await self._ask("DELETE", f"/engine-{number}", {})

    async def remove(self, number: int) -> None:
        """Gone at once."""
        await self._ask("DELETE", f"/engine-{number}", {"gracePeriodSeconds": 0})

    async def _ask(self, method: str, path: str, body: dict[str, Any]) -> None:
        headers = {"Content-Type": "application/json"}
        if method == "PATCH":
            headers["Content-Type"] = "application/strategic-merge-patch+json"
        answer = await self._client.rest_client.request(
            method,
            f"{self._client.configuration.host}/api/v1/namespaces/{NAMESPACE}/pods{path}",
            headers=headers,
            body=body,
            _request_timeout=aiohttp.ClientTimeout(total=60),
        )
        text = await answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")


class Engines:
    """The process with all engines."""

    def __init__(self, count: int, port: int) -> None:
        argv = [sys.executable, "-m", "benchmarks.pod_engines", str(count), str(port)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == "listening\n"

    def forget(self, number: int) -> None:
        """The next probe is its first."""
        self._say(f"forget {address(number)}")

    def tell(self) -> dict[str, dict[str, float]]:
        """When each was first probed and last asked."""
        self._say("tell")
        assert self._process.stdout
        told: dict[str, dict[str, float]] = json.loads(self._process.stdout.readline())
        return told

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


class Gateway:
    """The gateway and its accounts."""

    def __init__(self, *options: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        argv = ["router", "--listen", self.url.removeprefix("http://"), *options]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cardan_cli", *argv, "--access-log", "off"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def series(self, prefix: str) -> float:
        """The sum of a metric's series."""
        try:
            with urllib.request.urlopen(f"{self.url}/metrics", timeout=20) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return -1.0
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(prefix))

    async def until(self, prefix: str, wanted: float) -> None:
        """Wait until a metric has a value."""
        end = time.monotonic() + START_S
        while await asyncio.to_thread(self.series, prefix) != wanted:
            if time.monotonic() > end:
                raise RuntimeError(f"{prefix} is {self.series(prefix)}, not {wanted}")
            await asyncio.sleep(0.3)

    def cpu_s(self) -> float:
        """CPU so far."""
        return procfs.cpu_s(self._process.pid)

    def rss_mb(self) -> float:
        """Resident memory."""
        return procfs.rss_bytes(self._process.pid) / 1e6

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


async def cpu_share(gateway: Gateway, seconds: float) -> float:
    """Its CPU over some time, in parts of a core."""
    before, at = gateway.cpu_s(), time.monotonic()
    await asyncio.sleep(seconds)
    return (gateway.cpu_s() - before) / (time.monotonic() - at)


class Times(NamedTuple):
    """What was seen of changes, in seconds."""

    joins: list[float]
    stragglers: list[float]
    changes: int


async def change(
    api: Api, engines: Engines, seconds: float, rate: float, pods: int, rng: random.Random
) -> Times:
    """Change pods at a rate: unready and ready again, or deleted and created anew."""
    ready_at: dict[int, float] = {}
    left_at: dict[int, float] = {}
    joins: list[float] = []
    stragglers: list[float] = []
    count = 0
    began = time.monotonic()
    out: list[tuple[int, bool]] = []

    async def pace() -> None:
        nonlocal count
        count += 1
        await asyncio.sleep(max(0.0, began + count / rate - time.monotonic()))

    while time.monotonic() - began < seconds:
        if len(out) < 10:
            number = rng.randrange(pods)
            if any(number == other for other, _ in out):
                continue
            deleted = len(out) % 2 == 0
            await (api.delete(number) if deleted else api.set(number, ready=False))
            left_at[number] = time.monotonic()
            out.append((number, deleted))
            await pace()
            continue
        number, deleted = out.pop(0)
        collect(engines, {number: left_at.pop(number)}, "asked_at", stragglers)
        engines.forget(number)
        if deleted:
            await api.remove(number)
            await pace()
            await api.create(number, ready=False)
            await pace()
        await api.set(number, ready=True)
        ready_at[number] = time.monotonic()
        await pace()
    await asyncio.sleep(3.0)
    collect(engines, ready_at, "probed_at", joins)
    return Times(joins, stragglers, count)


def collect(engines: Engines, since: dict[int, float], what: str, into: list[float]) -> None:
    """How long after each moment an engine was probed first, or asked last."""
    told = engines.tell()[what]
    for number, at in since.items():
        seen_at = told.get(address(number))
        into.append(seen_at - at if seen_at is not None else float("inf"))


async def ask(gateway: Gateway, session: aiohttp.ClientSession, text: Iterator[int]) -> None:
    """A client: one request after the other."""
    while True:
        body = {"model": "m", "messages": [{"role": "user", "content": f"q{next(text)}"}]}
        async with session.post(f"{gateway.url}/v1/chat/completions", json=body) as answer:
            await answer.read()
            if answer.status != 200:
                sys.stderr.write(f"a request was answered {answer.status}\n")


@contextlib.asynccontextmanager
async def load(gateway: Gateway) -> AsyncIterator[None]:
    """Clients that ask while the scope lasts."""
    numbers = iter(range(10**9))
    async with aiohttp.ClientSession() as session:
        clients = [asyncio.ensure_future(ask(gateway, session, numbers)) for _ in range(CLIENTS)]
        try:
            yield
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)


async def fill(api: Api, pods: int) -> None:
    """Create all pods, twenty at a time."""
    gate = asyncio.Semaphore(20)

    async def one(number: int) -> None:
        async with gate:
            await api.create(number)

    await asyncio.gather(*(one(number) for number in range(pods)))


def report(name: str, value: float, unit: str, bound: str = "") -> None:
    """One line."""
    sys.stdout.write(f"{name:<58} {value:9.2f} {unit:<4} {bound}\n")
    sys.stdout.flush()


def quantiles(name: str, seconds: list[float], bound: str) -> None:
    """The middle and the worst."""
    report(f"{name}, median of {len(seconds)}", statistics.median(seconds) * 1e3, "ms")
    report(f"{name}, worst", max(seconds) * 1e3, "ms", bound)


async def measure(api: Api, engines: Engines, start: Callable[[], Gateway], options: Any) -> None:  # noqa: ANN401 - argparse's
    """The whole run."""
    rng = random.Random(1)
    gateway = start()
    try:
        await gateway.until("cardan_discovery_connected", 1)
        await asyncio.sleep(2.0)
        empty_mb = gateway.rss_mb()
        report("memory without a pod", empty_mb, "MB")
        await fill(api, options.pods)
        await gateway.until('cardan_fleet_endpoints{model="m",which="routable"}', options.pods)
        await asyncio.sleep(SETTLE_S)
        report(f"memory with {options.pods} pods, more", gateway.rss_mb() - empty_mb, "MB")
        idle = await cpu_share(gateway, options.seconds / 2)
        report("CPU while nothing changes (probes)", idle * 100, "%")
        changing = asyncio.ensure_future(
            change(api, engines, options.seconds, options.rate, options.pods, rng)
        )
        busy = await cpu_share(gateway, options.seconds)
        times = await changing
        seen = gateway.series('cardan_discovery_events_total{type="')
        report(f"CPU at {options.rate:g} changes/s, more", (busy - idle) * 100, "%", "≤ 5 %")
        report("events that the gateway was told, in all", seen, "")
        grown_mb = gateway.rss_mb() - empty_mb
        report(
            f"memory with {options.pods} pods and their changes, more", grown_mb, "MB", "≤ 30 MB"
        )
        quantiles("ready to serving", times.joins, "≤ 2000 ms")
        async with load(gateway):
            loaded = await change(api, engines, options.seconds, options.rate, options.pods, rng)
        quantiles("ready to serving, under load", loaded.joins, "≤ 2000 ms")
        late = [max(0.0, after) for after in loaded.stragglers if after != float("inf")]
        quantiles("unready or deleted to last request, under load", late, "≤ 200 ms")
        # What requests leave at each endpoint: connections, what its cache holds, its series.
        report("memory after the load, more", gateway.rss_mb() - empty_mb, "MB")
    finally:
        gateway.stop()


async def run(options: argparse.Namespace) -> None:
    """Cluster, engines, gateway."""
    port = free_port()
    engines = Engines(options.pods, port)
    try:
        with up.api("bench-discovery") as cluster:
            cluster.kubectl("create", "namespace", NAMESPACE)
            configuration = Configuration()
            await load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
            where = ("--discovery-kubernetes-namespace", NAMESPACE)
            async with ApiClient(configuration) as client:
                await measure(
                    Api(client, port),
                    engines,
                    lambda: Gateway(
                        *("--discovery-kubernetes-kind", "pods", *where),
                        *("--discovery-kubernetes-selector", SELECTOR),
                        *("--discovery-kubernetes-ports", str(port)),
                        *("--discovery-kubernetes-kubeconfig", str(cluster.kubeconfig)),
                        *("--policy", "round-robin"),
                    ),
                    options,
                )
    finally:
        engines.stop()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=10.0, help="changes a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
