"""One branch of the cgroup tree for each cluster, so that kubelets do not meet in /kubepods.

A kubelet told `cgroupRoot: /NAME` wants that group to exist in every hierarchy it manages. With
cgroup v1 (and hybrid) each controller is a hierarchy of its own; with v2 there is one, and
controllers have to be handed down from its root.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from e2e.cluster.errors import UnavailableError

TREE = Path("/sys/fs/cgroup")
PREFIX = "cardan-"  # what bears it is ours to remove
# On a node all that is no pod shares one group; here every process beside our pods is in the root
# and counts as much as a whole group. So the pods weigh as much as sixteen of them (v1's shares; v2
# counts in hundreds where v1 counts in 1,024s): else they get next to nothing on a busy machine.
WEIGHT = 16


def _hierarchies() -> list[Path]:
    if (TREE / "cgroup.controllers").exists():
        return [TREE]
    return [path for path in TREE.iterdir() if path.is_dir() and not path.is_symlink()]


def root(name: str) -> str:
    """The group of the cluster of this name, as kubelet wants it."""
    return f"/{PREFIX}{name}"


def create(name: str) -> None:
    """Make the cluster's group in every hierarchy.

    Raises:
        UnavailableError: the kernel refuses, as it does in many containers.
    """
    try:
        for hierarchy in _hierarchies():
            _create(hierarchy, hierarchy / root(name)[1:])
    except OSError as error:  # read-only; or busy: v2 hands nothing down from where processes are
        raise UnavailableError(
            f"a whole cluster needs cgroups of its own ({error}): set CARDAN_KUBECONFIG, or in a "
            "container have no process in the root of its cgroups"
        ) from error


def _create(hierarchy: Path, group: Path) -> None:
    group.mkdir(exist_ok=True)
    controllers = hierarchy / "cgroup.controllers"
    if controllers.exists():  # v2: a child has what its parent hands down
        handed = " ".join(f"+{one}" for one in controllers.read_text().split())
        for level in (hierarchy, group):
            (level / "cgroup.subtree_control").write_text(handed)
    elif hierarchy.name.startswith("cpuset"):  # v1: a new cpuset is empty and takes nobody
        for file in ("cpuset.cpus", "cpuset.mems"):
            (group / file).write_text((hierarchy / file).read_text())
    for file, unit in (("cpu.shares", 1024), ("cpu.weight", 100)):
        if (group / file).exists():
            (group / file).write_text(str(WEIGHT * unit))


def names() -> set[str]:
    """The clusters of which there are groups, whether or not they live."""
    if not TREE.exists():
        return set()
    groups = (group for hierarchy in _hierarchies() for group in hierarchy.glob(f"{PREFIX}*"))
    return {group.name.removeprefix(PREFIX) for group in groups}


def remove(name: str, deadline_s: float = 5.0) -> None:
    """Remove the cluster's groups. Their processes are dead; the kernel may still be sweeping."""
    end = time.monotonic() + deadline_s
    while _left(name) and time.monotonic() < end:
        time.sleep(0.02)


def _left(name: str) -> bool:
    if not TREE.exists():
        return False
    groups = [path for path in (h / root(name)[1:] for h in _hierarchies()) if path.exists()]
    for group in groups:
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):  # busy: again in a moment
                Path(folder).rmdir()
    return any(group.exists() for group in groups)
