"""Which binaries a cluster is started from: `KUBEBUILDER_ASSETS`, the cache, or nothing yet.

An explicitly given cluster (`CARDAN_KUBECONFIG`) comes before all of this: see `e2e.cluster.given`.
Building is never a side effect of looking: `make cluster` and `make e2e-cluster` do it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from e2e.cluster import network
from e2e.cluster.errors import UnavailableError
from e2e.cluster.paths import cache

API_TOOLS = ("etcd", "kube-apiserver")
FULL_TOOLS = (
    *API_TOOLS,
    *("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"),
    *("coredns", "helm"),
)
# What a node needs from the distribution: command → Debian package.
NODE_COMMANDS = {
    "containerd": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
}
CNI_PLUGINS = Path("/usr/lib/cni")
HOW = "run `make cluster` (needs root and Go)"


def assets() -> Path | None:
    """The folder that `KUBEBUILDER_ASSETS` names, as envtest and setup-envtest know it."""
    given = os.environ.get("KUBEBUILDER_ASSETS", "")
    return Path(given) if given else None


def api_binaries() -> Path:
    """A folder with etcd and kube-apiserver.

    Raises:
        UnavailableError: none is there.
    """
    for folder in filter(None, (assets(), cache() / "bin")):
        if _all_in(folder, API_TOOLS):
            return folder
    raise UnavailableError(f"no kube-apiserver: set KUBEBUILDER_ASSETS, or {HOW}")


def full_binaries() -> Path:
    """A folder with all that a node needs, on a machine that can run one.

    Raises:
        UnavailableError: it is not, or nothing was built.
    """
    if os.geteuid():
        raise UnavailableError("a whole cluster needs root: run as root, or set CARDAN_KUBECONFIG")
    if lacking := missing_packages():
        raise UnavailableError(f"a whole cluster needs: apt-get install {' '.join(lacking)}")
    network.check()
    for folder in filter(None, (assets(), cache() / "bin")):
        if _all_in(folder, FULL_TOOLS) and (folder.parent / "pause.tar").exists():
            return folder
    raise UnavailableError(f"no cluster was built: {HOW}")


def missing_packages() -> list[str]:
    """Debian packages that a node needs and that are not there."""
    lacking = {package for name, package in NODE_COMMANDS.items() if not shutil.which(name)}
    if not (CNI_PLUGINS / "bridge").exists():
        lacking.add("containernetworking-plugins")
    return sorted(lacking)


def tool(name: str) -> Path:
    """kubectl, helm and their like: of the assets, the cache, or this machine.

    Raises:
        UnavailableError: nowhere.
    """
    folders = filter(None, (assets(), cache() / "bin"))
    candidates = [folder / name for folder in folders]
    on_path = shutil.which(name)
    for path in [*candidates, *([Path(on_path)] if on_path else [])]:
        if os.access(path, os.X_OK):
            return path
    raise UnavailableError(f"no {name}: install it, or {HOW}")


def _all_in(folder: Path, names: tuple[str, ...]) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in names)
