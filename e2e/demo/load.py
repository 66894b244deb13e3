"""A real workload through the gateway's Service, sent by a pod: `cardan replay` as a Job.

The trace is in a ConfigMap, most often a part of the one of `cardan demo`; the figures come back in
the Job's log.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Final

import msgspec
from cardan_sim.demo.cut import SLICE
from cardan_sim.replay.figures import Figures

from e2e.demo.errors import DemoError

if TYPE_CHECKING:
    from e2e.cluster.interface import Cluster
    from e2e.demo.tell import Clock

TRACE: Final = "trace.jsonl.gz"
# `cardan demo` does the same: answers of 350 tokens would last longer than the demo.
ANSWER_TOKENS: Final = 100
# Beyond the time in which requests are sent: the pod's start, the last answers' end.
PATIENCE_S: Final = 120.0


class Load:
    """A Job that sends the requests of a trace, open loop."""

    def __init__(self, cluster: Cluster, name: str, image: str) -> None:
        """`image` with the simulated engine, which has `cardan replay` too."""
        self._cluster = cluster
        self.name = name
        self._image = image

    def start(self, trace: list[bytes], rate_rps: float | None = None) -> None:
        """Send the requests of a trace, given by its lines (`bundled`), at a rate or its own."""
        self.remove()
        objects = [_packed(self.name, trace), _job(self.name, self._image, rate_rps)]
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        self._cluster.kubectl("apply", "-f", "-", input=json.dumps(listed))

    def await_running(self, clock: Clock) -> None:
        """Wait until the pod runs; PATIENCE_S is kept by the Job's deadline."""
        while self._state("status.ready") != "1":
            self._raise_if_failed()
            clock.tick()

    def over(self) -> bool:
        """Whether it has sent everything and has every answer."""
        self._raise_if_failed()
        return self._state("status.succeeded") == "1"

    def figures(self) -> Figures:
        """What it measured.

        Raises:
            DemoError: it did not end well.
        """
        log = self._cluster.kubectl("logs", f"job/{self.name}")
        _, brace, rest = log.partition("\n{")
        try:
            return msgspec.json.decode((brace + rest).strip(), type=Figures)
        except msgspec.DecodeError as error:
            raise DemoError(f"the load's pod has no figures: {log[-500:]}") from error

    def remove(self) -> None:
        """The Job, its pod and its trace."""
        named = [f"job/{self.name}", f"configmap/{self.name}"]
        self._cluster.kubectl("delete", "--ignore-not-found", *named)

    def _state(self, path: str) -> str:
        return self._cluster.kubectl("get", "job", self.name, "-o", f"jsonpath={{.{path}}}")

    def _raise_if_failed(self) -> None:
        if self._state("status.failed") not in ("", "0"):
            log = self._cluster.kubectl("logs", f"job/{self.name}", "--tail=20")
            raise DemoError(f"the load's pod failed: {log}")


def bundled(first: int, requests: int) -> list[bytes]:
    """So many requests of the bundled trace from the one at `first`, whole as they are."""
    with gzip.open(SLICE, "rb") as file:
        return file.readlines()[first : first + requests]


def _packed(name: str, trace: list[bytes]) -> dict[str, object]:
    """A trace in a ConfigMap."""
    packed = base64.b64encode(gzip.compress(b"".join(trace))).decode()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "binaryData": {TRACE: packed},
    }


def replay(rate_rps: float | None) -> list[str]:
    """The command in the pod, after `cardan`; without a rate in the trace's own time."""
    return [
        *("replay", f"/trace/{TRACE}", "--endpoint", "http://cardan:8080"),
        *(() if rate_rps is None else ("--rate", f"{rate_rps:g}")),
        *("--max-output-tokens", str(ANSWER_TOKENS), "--json", "/dev/stdout"),
    ]


def _job(name: str, image: str, rate_rps: float | None) -> dict[str, object]:
    container = {
        "name": "replay",
        "image": image,
        "args": replay(rate_rps),
        "volumeMounts": [{"name": "trace", "mountPath": "/trace"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [container],
        "volumes": [{"name": "trace", "configMap": {"name": name}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def whole(figures: Figures, sent: int) -> Figures:
    """The figures, if every request was answered.

    Raises:
        DemoError: some were not; it says what became of them.
    """
    if figures.succeeded == sent:
        return figures
    why = ", ".join(f"{count} × {kind}" for kind, count in figures.errors.items())
    raise DemoError(f"{figures.succeeded} of {sent} requests were answered: {why or 'cut short'}")
