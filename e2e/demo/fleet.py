"""The demo's fleet: what is done to it, and what it tells of itself."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from e2e.cluster.errors import CommandError
from e2e.cluster.paths import ROOT
from e2e.demo import steps
from e2e.demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster.interface import Cluster
    from e2e.demo.tell import Clock

NAME: Final = "llama"
FILE: Final = "e2e/demo/fleet.yaml"
OPERATOR: Final = "deployment/cardan-controller"
# What was done about hot prefixes, for whom, and why.
MOVES: Final = (
    '{range .status.hotSpots.moves[?(@.key)]}{.kind} of {.key}: {.owners}{"\\n"}{.why}{"\\n"}{end}'
)
# Each condition, and why it is so.
CONDITIONS: Final = '{range .status.conditions[*]}{.type}: {.status}, {.reason}{"\\n"}{end}'
# Ten seconds of idleness, a drain, and a machine that has other things to do.
STEP_S: Final = 120.0


def turn_on_words() -> list[str]:
    """The command that turns the operator on, after `helm`."""
    return [
        *("upgrade", steps.RELEASE, steps.CHART, "--reset-then-reuse-values"),
        *("--set", "controller.enabled=true,controller.config.tick_s=1"),
        *("--set", "controller.config.metrics.short_window_s=5"),
        *("--set", "engines.simulated.scaledByOthers=true", "--wait"),
    ]


def turn_on(cluster: Cluster) -> None:
    """Start the operator, and wait until it is ready."""
    words = [*steps.placed(turn_on_words()), f"--timeout={steps.INSTALL_S}s"]
    cluster.helm(*words, timeout_s=steps.INSTALL_S + 10)


def create(cluster: Cluster) -> None:
    """`kubectl apply` the fleet."""
    cluster.kubectl("apply", "-f", str(ROOT / FILE))


def remove(cluster: Cluster) -> None:
    """Delete the fleet, if there is one: its operator has to see it go."""
    if not cluster.kubectl("get", "crd", "inferencefleets.cardan.dev", "--ignore-not-found"):
        return
    try:
        cluster.kubectl("delete", "fleet", NAME, "--ignore-not-found", "--timeout=20s")
    except CommandError:  # nobody is there to see it
        patch = '{"metadata":{"finalizers":null}}'
        cluster.kubectl("patch", "fleet", NAME, "--type=merge", "-p", patch)


def asked_for(cluster: Cluster) -> int:
    """The replicas that the engines' Deployment is to have."""
    found: dict[str, Any] = json.loads(cluster.kubectl("get", steps.ENGINE, "-o", "json"))
    return int(found["spec"]["replicas"])


def ready(cluster: Cluster) -> int:
    """Engines that are ready."""
    found: dict[str, Any] = json.loads(cluster.kubectl("get", steps.ENGINE, "-o", "json"))
    return int(found["status"].get("readyReplicas", 0))


def table(cluster: Cluster) -> str:
    """`kubectl get fleet`."""
    return cluster.kubectl("get", "fleet", NAME)


def events(cluster: Cluster) -> str:
    """What has happened to it, and why."""
    columns = "custom-columns=EVENT:.reason,WHY:.message"
    words = ("--field-selector", "involvedObject.kind=InferenceFleet", "-o", columns)
    return cluster.kubectl("get", "events", "--sort-by=.metadata.creationTimestamp", *words)


def moves(cluster: Cluster) -> list[dict[str, Any]]:
    """Moves of hot prefixes that are in force, and whose new owners are warm."""
    found: dict[str, Any] = json.loads(cluster.kubectl("get", "fleet", NAME, "-o", "json"))
    told = found.get("status", {}).get("hotSpots", {}).get("moves", [])
    return [move for move in told if move.get("key") and not move.get("warming")]


def telling(path: str) -> list[str]:
    """The command that tells a part of its status."""
    return ["kubectl get fleet", NAME, f"-o jsonpath='{path}'"]


def told(cluster: Cluster, path: str) -> str:
    """What that command prints."""
    return cluster.kubectl("get", "fleet", NAME, "-o", f"jsonpath={path}")


def wait(condition: Callable[[], bool], what: str, clock: Clock) -> float:
    """Wait for a condition; the seconds it took.

    Raises:
        DemoError: not in time.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > STEP_S:
            raise DemoError(f"waited {STEP_S:.0f} s in vain for {what}")
        clock.tick()
    return time.monotonic() - began
