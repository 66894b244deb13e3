"""The chart, installed under a name in a namespace of its own, and what is done to its pods."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cardan_router.config_file import overlay

from e2e import images
from e2e.cluster.errors import CommandError, UnsupportedError
from e2e.cluster.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster.interface import Cluster

CHART: Final = ROOT / "deploy/helm/cardan"
NAME: Final = "cardan"
ROUTER: Final = "router"
ENGINE: Final = "engine"
ENGINES: Final = 4
GATEWAYS: Final = 2  # what the chart gives a release that says nothing about it
# Twenty times as slow as the real one: a token takes 0.15 s, so a stream of few tokens, which costs
# this machine little, lives as long as one of many.
SPEED: Final = 0.05
VALUES: Final[dict[str, Any]] = {
    "image": {"registry": images.REGISTRY, "pullPolicy": "Never"},
    "engines": {
        "simulated": {
            "enabled": True,
            "replicas": ENGINES,
            "speed": SPEED,
            # Two engines must be able to hold what four have begun.
            "extraArgs": ["--max-num-seqs=1024"],
        }
    },
}
# For tests: gateways that linger little longer than the young pools keep connections, and less time
# between a new gateway and the end of an old one. The table of rollouts is made with the chart's
# own settings.
BRISK: Final[dict[str, Any]] = {
    "config": {"shutdown": {"linger_s": 6}},
    "router": {"minReadySeconds": 1},
}
# A pod starts in 3 s alone, and in several times that on a machine that carries the load too.
READY_S: Final = 120.0


class Release:
    """A release named `cardan`. Its Service is called the same."""

    def __init__(
        self, cluster: Cluster, namespace: str, values: dict[str, Any] | None = None
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self._values = overlay(VALUES, values or {})

    def install(self, tag: str) -> None:
        """Install the chart and wait until it is ready."""
        self._helm("install", tag)

    def upgrade(self, tag: str) -> None:
        """Upgrade to images of another tag and wait until the new ones are ready."""
        self._helm("upgrade", tag)

    def helm(self, *argv: str) -> str:
        """Helm in the namespace."""
        return self.cluster.helm(*argv, "-n", self.namespace, timeout_s=READY_S + 30)

    def kubectl(self, *argv: str, input: str | None = None) -> str:
        """Kubectl in the namespace."""
        return self.cluster.kubectl("-n", self.namespace, *argv, input=input, timeout_s=READY_S)

    def address(self) -> tuple[str, int]:
        """The Service's cluster address."""
        spec = json.loads(self.kubectl("get", "service", NAME, "-o", "json"))["spec"]
        return spec["clusterIP"], spec["ports"][0]["port"]

    def pods(self, component: str) -> list[dict[str, Any]]:
        """The pods of a component, those on their way out among them."""
        return self._pods(f"app.kubernetes.io/component={component}")

    def _pods(self, selector: str) -> list[dict[str, Any]]:
        found = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))
        items: list[dict[str, Any]] = found["items"]
        return items

    def restart(self, component: str) -> None:
        """`kubectl rollout restart`, and wait until nothing of the old pods is left."""
        self.kubectl("rollout", "restart", f"deployment/{NAME}-{component}")
        self.settle()

    def scale(self, component: str, replicas: int) -> None:
        """`kubectl scale`, and wait until it is so."""
        self.kubectl("scale", f"deployment/{NAME}-{component}", f"--replicas={replicas}")
        self.settle()

    def settle(self) -> None:
        """Wait until both Deployments are as they should be and no pod is on its way out."""
        for component in (ROUTER, ENGINE):
            self.kubectl(
                "rollout", "status", f"deployment/{NAME}-{component}", f"--timeout={READY_S:.0f}s"
            )
        until(self._is_settled, "pods to be gone")

    def evict(self, component: str) -> None:
        """Evict every pod of a component, as `kubectl drain` does, and wait for the new ones."""
        for pod in self.pods(component):
            until(lambda name=pod["metadata"]["name"]: self._evicted(name), "an eviction")  # type: ignore[misc]
        self.settle()

    def delete_by_force(self, component: str) -> float:
        """Delete one pod of a component without grace; when it was gone, by the wall clock."""
        pod = self.pods(component)[0]
        pid = _first_process(pod)
        self.kubectl("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0")
        return _gone(pid)

    def kill(self, component: str) -> float:
        """SIGKILL the first process of one pod of a component; when it was gone, by the wall clock.

        The pod is restarted when this returns.
        """
        pod = self.pods(component)[0]
        restarts = pod["status"]["containerStatuses"][0]["restartCount"]
        pid = _first_process(pod)
        os.kill(pid, signal.SIGKILL)
        gone_at = _gone(pid)
        until(lambda: self._restarts(component, pod) > restarts, "a restart")
        return gone_at

    def _restarts(self, component: str, pod: dict[str, Any]) -> int:
        """How often a pod's container was started again."""
        for other in self.pods(component):
            if other["metadata"]["uid"] == pod["metadata"]["uid"]:
                return int(other["status"]["containerStatuses"][0]["restartCount"])
        return 0

    def _helm(self, do: str, tag: str) -> None:
        wait = ("--wait", "--timeout", f"{READY_S:.0f}s")
        self.cluster.helm(
            *(do, NAME, str(CHART), "-n", self.namespace, *wait),
            *("--set", f"image.tag={tag}", "-f", "-"),
            input=json.dumps(self._values),
            timeout_s=READY_S + 30,
        )

    def _is_settled(self) -> bool:
        pods = self._pods(f"app.kubernetes.io/component in ({ROUTER}, {ENGINE})")
        return all(
            "deletionTimestamp" not in pod["metadata"]
            and all(status["ready"] for status in pod["status"].get("containerStatuses", [{}]))
            for pod in pods
        )

    def _evicted(self, pod: str) -> bool:
        """Ask for an eviction; False if a PodDisruptionBudget says: not now."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        order = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
        }
        try:
            self.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(order))
        except CommandError as error:
            if "disruption budget" in str(error):
                return False
            raise
        return True


def until(
    condition: Callable[[], object], what: str, deadline_s: float = READY_S, every_s: float = 0.4
) -> None:
    """Wait for a condition, or raise TimeoutError."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline_s:.0f} s in vain for {what}")
        time.sleep(every_s)


def _first_process(pod: dict[str, Any]) -> int:
    """This machine's number for process 1 of a pod's container."""
    container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if container in (folder / "cgroup").read_text() and _number_inside(folder) == 1:
                return int(folder.name)
    raise UnsupportedError(f"the processes of container {container} are not on this machine")


def _gone(pid: int) -> float:
    """Wait until a process has ended; when, by the wall clock, to 5 ms."""
    until(lambda: has_ended(Path("/proc") / str(pid)), "the end of a process", every_s=0.005)
    return time.time()


def has_ended(folder: Path) -> bool:
    """Whether a process is gone, or a zombie that has closed all it had.

    Its first thread may be a zombie before the others, and the last one closes the connections.
    """
    try:
        state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        return state == "Z" and len(list((folder / "task").iterdir())) == 1
    except OSError:
        return True


def _number_inside(folder: Path) -> int:
    for line in (folder / "status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return 0
