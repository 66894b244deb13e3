"""The operator at size: 500 fleets of 20 pods on a real API server.

    python -m benchmarks.controller [--fleets 500] [--pods 20] [--json FILE]

The tests' API-only cluster, with its controllers stopped once it stands, so that what is written is
written here or by the operator; pods whose status says that they serve; a Prometheus that knows of
a load for every fleet and sways by 5 %; one operator. Measured, from outside the operator:

- CPU of the process for one tick over all fleets: observing, deciding, and what kopf and watches do
  meanwhile. The targets are 5 s on one core and 300 MiB;
- the same for the first tick, which writes every status, and while every fleet wants another scale;
- its memory with nothing, with all pods, and with all fleets;
- writes to the API server while nothing happens: none.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cardan_controller.config import MetricsConfig
from cardan_controller.crds.main import text
from cardan_controller.metrics.asks import ASKS
from cardan_kube.api import KubernetesApi, Request

from benchmarks import procfs
from benchmarks.processes import free_port
from e2e.cluster import up
from e2e.controller.pages import Prometheus, served

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from e2e.controller.pages import Answer

NAMESPACES = 10
MOST_TICK_S = 5.0
MOST_MIB = 300.0
TICK_S = 15.0  # as it is by default
DEADLINE_S = 900.0
# How often the operator's page is looked at. Its ten thousand series take tens of milliseconds to
# write: four times a second, that was half of all that was measured.
LOOK_S = 3.0
GATEWAY = {"app.kubernetes.io/name": "cardan", "app.kubernetes.io/component": "router"}
MERGE = "application/merge-patch+json"
READY = {"phase": "Running", "podIP": "10.0.0.1"}


def namespace(number: int) -> str:
    """Where a fleet is."""
    return f"bench-{number % NAMESPACES}"


class Rendered(Prometheus):
    """One whose replies are ready: what takes time is the operator."""

    def __init__(self, windows: MetricsConfig) -> None:
        super().__init__(windows.short_window_s, windows.long_window_s)
        self._replies: dict[str, bytes] = {}

    def tell(self, answers: Mapping[str, Answer]) -> None:
        """From now on."""
        self.answers = dict(answers)
        self._replies = {name: self.rendered(name) for name in ASKS}

    def reply(self, body: bytes) -> bytes:
        """To one query."""
        return self._replies[self.name_of(body)]


class Cluster:
    """Makes everything, forty requests at a time."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._room = asyncio.Semaphore(40)

    async def create(self, path: str, document: dict[str, Any]) -> None:
        """One object."""
        async with self._room:
            await self._api.send(Request("POST", path, document))

    async def pod(self, where: str, name: str, labels: dict[str, str]) -> None:
        """A pod that serves."""
        path = f"/api/v1/namespaces/{where}/pods"
        spec = {"containers": [{"name": "engine", "image": "none"}], "nodeName": "nowhere"}
        await self.create(path, {"metadata": {"name": name, "labels": labels}, "spec": spec})
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": moment}
        status = {"status": {**READY, "conditions": [ready]}}
        async with self._room:
            await self._api.send(Request("PATCH", f"{path}/{name}/status", status, MERGE))

    async def target(self, number: int, pods: int) -> None:
        """A Deployment and its pods."""
        labels = {"app": f"m{number}", "tier": "engines"}
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "engine", "image": "none"}]},
        }
        spec = {"replicas": pods, "selector": {"matchLabels": labels}, "template": template}
        where = namespace(number)
        manifest = {"metadata": {"name": f"m{number}"}, "spec": spec}
        await self.create(f"/apis/apps/v1/namespaces/{where}/deployments", manifest)
        for pod in range(pods):
            await self.pod(where, f"m{number}-{pod}", labels)

    async def fleet(self, number: int, pods: int) -> None:
        """A fleet of it."""
        pool = {
            "name": "main",
            "scaleTargetRef": {"kind": "Deployment", "name": f"m{number}"},
            "minReplicas": pods,
            "maxReplicas": 100,
        }
        manifest = {
            "apiVersion": "cardan.dev/v1alpha1",
            "kind": "InferenceFleet",
            "metadata": {"name": f"m{number}"},
            "spec": {"model": f"org/m{number}", "pools": [pool]},
        }
        path = f"/apis/cardan.dev/v1alpha1/namespaces/{namespace(number)}/inferencefleets"
        await self.create(path, manifest)


async def together(work: Iterator[Coroutine[Any, Any, None]]) -> None:
    """All of it."""
    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(one)


def load(prometheus: Rendered, fleets: int, pods: int, factor: float, beat: int) -> None:
    """What the gateways counted: every fleet is about as busy as its replicas can be."""
    answers: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in ASKS}
    for number in range(NAMESPACES):
        answers["sample_age_s"][namespace(number),] = 1.0
        answers["gateways"][namespace(number),] = 1.0
    for number in range(fleets):
        key = (namespace(number), f"org/m{number}")
        sway = factor * (1.0 + 0.05 * math.sin(number + beat))
        answers["requests"][key] = answers["answered"][key] = 0.5 * pods * sway
        answers["prompt_tokens"][key] = 1000.0 * pods * sway
        answers["output_tokens"][key] = 125.0 * pods * sway
        answers["promises"][key] = answers["promises_kept"][key] = 0.5 * pods * sway
        answers["ttft_p95_s"][key] = 1.0
        answers["held"][key] = answers["shed"][key] = 0.0
        for rank in range(4):  # the hottest prefixes of each model
            hot = (*key, f"{number:08x}{rank:08x}")
            answers["key_share"][hot], answers["key_blocks"][hot] = 0.05, 4.0
            answers["key_hit_tokens"][hot] = 500.0
            answers["key_owner"][*hot, f"m{number}-{rank}"] = 1.0
        _engines(answers, number, pods, sway)
    prometheus.tell(answers)


def _engines(
    answers: dict[str, dict[tuple[str, ...], float]], number: int, pods: int, sway: float
) -> None:
    """Each engine's numbers."""
    values = {
        "in_flight": 4.0,
        "running": 4.0 * sway,
        "waiting": 0.0,
        "kv_used": 0.4 * sway,
        "scrape_age_s": 1.0,
        "prefill_speed": 8000.0,
        "endpoint_requests": 0.5 * sway,
        "endpoint_tokens": 1000.0 * sway,
        "endpoint_hit_tokens": 300.0 * sway,
        "endpoint_output_tokens": 125.0 * sway,
        "endpoint_failures": 0.0,
    }
    for pod in range(pods):
        for name, value in values.items():
            answers[name][namespace(number), f"m{number}-{pod}"] = value


class Operator:
    """The process, and what it tells."""

    def __init__(self, kubeconfig: Path, prometheus: int, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        settings = {
            "listen": self.url.removeprefix("http://"),
            "kubeconfig": str(kubeconfig),
            "tick_s": TICK_S,
            "metrics": {"prometheus": {"url": f"http://127.0.0.1:{prometheus}"}},
            "lease": {"namespace": "default"},
        }
        path = folder / "operator.json"
        path.write_text(json.dumps(settings))
        self.log = folder / "operator.log"
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cardan_cli", "controller", "--config", str(path)],
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def series(self, prefix: str) -> float:
        """The sum of a metric's series."""
        try:
            with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0.0
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(prefix))

    def ticks(self) -> float:
        """How many there have been over all fleets."""
        return self.series('cardan_controller_ticks_total{result="ok"}')

    def writes(self) -> float:
        """How many requests it has sent that write."""
        return self.series("cardan_controller_writes_total")

    def cpu_s(self) -> float:
        """CPU so far."""
        return procfs.cpu_s(self._process.pid)

    def rss_mib(self) -> float:
        """Resident memory."""
        return procfs.rss_bytes(self._process.pid) / 2**20

    async def until(self, what: Callable[[], bool]) -> None:
        """Wait for it."""
        end = time.monotonic() + DEADLINE_S
        while not await asyncio.to_thread(what):
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError(f"in vain: {self.log.read_text()[-2000:]}")
            await asyncio.sleep(LOOK_S)

    async def cost(self, ticks: int) -> tuple[float, float]:
        """CPU seconds and writes of a tick, over so many."""
        first = self.ticks()
        await self.until(lambda: self.ticks() > first)
        cpu_s, writes, began = self.cpu_s(), self.writes(), self.ticks()
        await self.until(lambda: self.ticks() >= began + ticks)
        count = self.ticks() - began
        return (self.cpu_s() - cpu_s) / count, (self.writes() - writes) / count

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Report:
    """Lines, and the same as JSON."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.missed: list[str] = []

    def tell(self, name: str, value: float, unit: str, most: float | None = None) -> None:
        """One line; `most` is the target."""
        bound = "" if most is None else f"≤ {most:g} {unit}"
        sys.stdout.write(f"{name:<62} {value:9.2f} {unit:<6} {bound}\n")
        sys.stdout.flush()
        self.values[name] = value
        if most is not None and value > most:
            self.missed.append(name)


async def measure(
    cluster: Cluster,
    prometheus: Rendered,
    start: Callable[[], Operator],
    options: Any,  # noqa: ANN401 - argparse's
) -> Report:
    """The whole run."""
    report, size = Report(), (options.fleets, options.pods)
    load(prometheus, *size, 1.0, 0)
    operator = start()
    try:
        await operator.until(lambda: operator.ticks() >= 1)
        report.tell("memory with nothing", operator.rss_mib(), "MiB")
        await together(cluster.target(number, options.pods) for number in range(options.fleets))
        await operator.until(lambda: operator.series("cardan_controller_watch_events_total") > 0)
        idle_s, _ = await operator.cost(1)
        report.tell("memory with all pods", operator.rss_mib(), "MiB")
        report.tell("CPU of a tick without a fleet", idle_s, "s")
        cpu_s = operator.cpu_s()
        await together(cluster.fleet(number, options.pods) for number in range(options.fleets))
        statuses = 'cardan_controller_writes_total{result="ok",what="status"}'
        await operator.until(lambda: operator.series(statuses) >= options.fleets)
        report.tell("CPU of all fleets' arrival", operator.cpu_s() - cpu_s, "s")
        with swaying(prometheus, *size):
            learning_s, written = await operator.cost(2)
            report.tell("CPU of a tick that learns", learning_s, "s", MOST_TICK_S)
            report.tell("writes of a tick that learns", written, "")
            report.tell("memory with all fleets", operator.rss_mib(), "MiB", MOST_MIB)
        steady_s, written = await operator.cost(options.ticks)
        report.tell("CPU of a tick", steady_s, "s", MOST_TICK_S)
        report.tell("writes of a tick", written, "", 0.0 if options.strict else None)
        load(prometheus, *size, 4.0, 0)
        before = operator.writes()
        rising_s, _ = await operator.cost(1)
        report.tell("CPU of a tick in which all fleets grow", rising_s, "s", MOST_TICK_S)
        report.tell("writes then", operator.writes() - before, "")
        report.tell("memory after all that", operator.rss_mib(), "MiB", MOST_MIB)
    finally:
        operator.stop()
    return report


@contextlib.contextmanager
def swaying(prometheus: Rendered, fleets: int, pods: int) -> Iterator[None]:
    """Demand sways while the scope lasts."""

    async def sway() -> None:
        beat = 0
        while True:
            await asyncio.sleep(TICK_S)
            beat += 1
            load(prometheus, fleets, pods, 1.0, beat)

    task = asyncio.ensure_future(sway())
    try:
        yield
    finally:
        task.cancel()


async def run(options: argparse.Namespace) -> Report:
    """Cluster, Prometheus, operator."""
    prometheus = Rendered(MetricsConfig())
    with up.api("bench-controller") as api, served(prometheus.reply) as port:
        api.kubectl("apply", "--server-side", "-f", "-", input=text())
        names = ("crd/inferencefleets.cardan.dev", "crd/routingoverlays.cardan.dev")
        api.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
        kube = KubernetesApi(str(api.kubeconfig), "bench")
        cluster = Cluster(kube)
        for number in range(NAMESPACES):
            api.kubectl("create", "namespace", namespace(number))
            await cluster.pod(namespace(number), "gateway", GATEWAY)
        api.stop("controllers")  # they would make the pods of the Deployments
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder)
            start = lambda: Operator(api.kubeconfig, port, at)  # noqa: E731 - short
            try:
                return await measure(cluster, prometheus, start, options)
            finally:
                await kube.close()


def main() -> int:
    """The command line; 1 when a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fleets", type=int, default=500)
    parser.add_argument("--pods", type=int, default=20, help="of each fleet")
    parser.add_argument("--ticks", type=int, default=4, help="over which the mean is taken")
    parser.add_argument("--strict", action="store_true", help="no write while nothing happens")
    parser.add_argument("--json", default="", metavar="FILE")
    options = parser.parse_args()
    report = asyncio.run(run(options))
    if options.json:
        Path(options.json).write_text(json.dumps(report.values, indent=1) + "\n")
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
