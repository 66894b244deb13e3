"""What is done to the cluster, one function each: install, look, ask, upgrade, remove."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from e2e.cluster.errors import CommandError
from e2e.cluster.paths import ROOT
from e2e.demo.errors import DemoError
from e2e.images import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2e.cluster.interface import Cluster
    from e2e.demo.tell import Clock

RELEASE: Final = "cardan"
GATEWAY: Final = "deployment/cardan-router"
ENGINE: Final = "deployment/cardan-engine"
CHART: Final = "deploy/helm/cardan"
GATEWAYS: Final = 2  # router.replicas of the chart
ENGINES: Final = 4  # engines.simulated.replicas of the chart
# Installing took 12 s here; a cluster that pulls nothing has no reason to take minutes.
INSTALL_S: Final = 180
TAG: Final = re.compile(r"i[0-9a-f]{11}(-next)?")  # as `images` makes them
# Six pods one after the other, or nearly so: 25 to 50 s here.
UPGRADE_S: Final = 300.0
EXPLAIN_S: Final = 30


def install_words(tag: str) -> list[str]:
    """The command that installs the chart, after `helm`."""
    return [
        *("install", RELEASE, CHART, "--set", f"image.registry={REGISTRY},image.tag={tag}"),
        *("--set", "engines.simulated.enabled=true,config.prewarm.enabled=true", "--wait"),
    ]


def install(cluster: Cluster, tag: str) -> None:
    """Install the chart with simulated engines, and wait until all of it is ready."""
    cluster.helm(*placed(install_words(tag)), f"--timeout={INSTALL_S}s", timeout_s=INSTALL_S + 10)


def earlier(cluster: Cluster) -> bool:
    """Whether an earlier demo's release is there. Its values tell: nobody else has such images.

    Raises:
        DemoError: a release of that name is there which is not a demo's.
    """
    try:
        values = json.loads(cluster.helm("get", "values", RELEASE, "-o", "json")) or {}
    except CommandError as error:
        if "not found" in error.output:
            return False
        raise
    image = values.get("image", {})
    if image.get("registry") != REGISTRY or not TAG.fullmatch(str(image.get("tag"))):
        raise DemoError(
            f"the cluster has a release {RELEASE} that no demo has installed, and the demo would "
            f"replace it: `helm uninstall {RELEASE}` first, or take another cluster"
        )
    return True


def uninstall(cluster: Cluster) -> None:
    """Remove what an earlier run has left, if any; its fleet has to be gone already."""
    cluster.helm("uninstall", RELEASE, "--ignore-not-found", "--wait")


def pods(cluster: Cluster, component: str) -> list[str]:
    """The pods of `router` or `engine` that are not on their way out.

    Raises:
        DemoError: one was restarted, so something has crashed.
    """
    label = f"app.kubernetes.io/name=cardan,app.kubernetes.io/component={component}"
    listed = json.loads(cluster.kubectl("get", "pods", "-l", label, "-o", "json"))["items"]
    for pod in listed:
        for status in pod["status"].get("containerStatuses", []):
            if status["restartCount"]:
                raise DemoError(f"{pod['metadata']['name']} was restarted")
    return [pod["metadata"]["name"] for pod in listed if "deletionTimestamp" not in pod["metadata"]]


def explain(url: str) -> str:
    """What `cardan explain` says of one request.

    Raises:
        DemoError: no answer.
    """
    # kube-proxy may learn of the gateways a second after `helm install --wait` has returned.
    argv = [sys.executable, "-m", "cardan_cli", "explain", url, f"--wait={EXPLAIN_S}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"cardan explain: {done.stderr.strip()}")
    return done.stdout


def upgrade_words(tag: str) -> list[str]:
    """The command that upgrades to other images, after `helm`."""
    return ["upgrade", RELEASE, CHART, "--reset-then-reuse-values", "--set", f"image.tag={tag}"]


def upgrade(cluster: Cluster, tag: str, clock: Clock) -> float:
    """Replace every gateway and every engine; the seconds it took.

    Helm's own `--wait` would be one long command, and Ctrl-C would have to wait for it.

    Raises:
        DemoError: not in time.
    """
    began = time.monotonic()
    cluster.helm(*placed(upgrade_words(tag)))
    while not all(_rolled_out(cluster, name) for name in (GATEWAY, ENGINE)):
        if time.monotonic() - began > UPGRADE_S:
            raise DemoError(f"the upgrade is not over after {UPGRADE_S:.0f} s")
        clock.tick()
    return time.monotonic() - began


def _rolled_out(cluster: Cluster, name: str) -> bool:
    said = cluster.kubectl("rollout", "status", name, "--watch=false")
    return "successfully rolled out" in said


def placed(words: list[str]) -> list[str]:
    """The chart by its whole path, wherever we were started."""
    return [str(ROOT / word) if word == CHART else word for word in words]


def replaced(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether all are there, and none of them was before."""
    return len(after) == len(before) and not set(before) & set(after)
