"""From an empty folder to a cluster that answers.

The order is the components' own: etcd, the API server, then all that talks to it, at once. A
node's container runtime comes up meanwhile. A daemon that ends before its time is told with its
last words.
"""

from __future__ import annotations

import ssl
import sys
import time
import urllib.error
import urllib.request
from functools import partial
from typing import TYPE_CHECKING

from e2e.cluster import cgroups, control_plane, kubeconfig, network, node, pki
from e2e.cluster.errors import ClusterError, CommandError

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster.held import Held
    from e2e.cluster.interface import Daemon
    from e2e.cluster.layout import Layout
    from e2e.cluster.local import LocalCluster

# The API server takes 2 to 4 s here alone, 15 s with both cores busy elsewhere.
API_DEADLINE_S = 90.0
CONTROLLERS_DEADLINE_S = 60.0
NODE_DEADLINE_S = 90.0
COMMANDS: dict[str, Callable[[Layout], list[str]]] = {
    "etcd": control_plane.etcd,
    "api-server": control_plane.api_server,
    "controllers": control_plane.controllers,
    "scheduler": control_plane.scheduler,
    "containerd": node.containerd,
    "kubelet": node.kubelet,
    "proxy": node.proxy,
    "dns": node.dns,
}


NODE: tuple[Daemon, ...] = ("scheduler", "kubelet", "proxy", "dns")


def start(held: Held, layout: Layout, daemon: Daemon) -> None:
    """Start one daemon."""
    held.ask("start", name=daemon, argv=COMMANDS[daemon](layout), inside=layout.full)


def fill(held: Held, cluster: LocalCluster) -> None:
    """From nothing to a cluster that answers."""
    layout = cluster.layout
    layout.save()
    if layout.full:
        _namespaces_up(held, layout)
        start(held, layout, "containerd")
    _api_up(held, layout)
    if layout.tool("kube-controller-manager").exists():  # KUBEBUILDER_ASSETS may have none
        start(held, layout, "controllers")
    if layout.full:
        _node_up(held, cluster)
    if layout.tool("kube-controller-manager").exists():
        made = partial(_exists, cluster, "serviceaccount", "default")
        until(held, layout, made, "the controllers", CONTROLLERS_DEADLINE_S)
    held.ask("set", what="ready")


def _namespaces_up(held: Held, layout: Layout) -> None:
    """The namespaces, and the way into them: only the first process is in there for itself."""
    cgroups.create(layout.folder.name)
    first = held.ask("unshare", argv=[str(layout.pause)])["pid"]
    network.prepare(layout, first)
    into = ["nsenter", f"--net=/proc/{first}/ns/net", "--"]
    forward = [sys.executable, "-m", "e2e.cluster.forward", "{fd}", str(layout.port)]
    held.ask("start", name="forward", argv=[*into, *forward], listen=layout.port)
    node.configure(layout)


def _node_up(held: Held, cluster: LocalCluster) -> None:
    """All that a node runs; returns when it calls itself ready."""
    layout = cluster.layout
    socket = layout.folder / "containerd.sock"
    until(held, layout, socket.exists, "containerd", NODE_DEADLINE_S)
    cluster.load_image(layout.pause.with_suffix(".tar"))
    for daemon in NODE:
        start(held, layout, daemon)
    until(held, layout, partial(_node_is_ready, cluster), "the node", NODE_DEADLINE_S)


def _node_is_ready(cluster: LocalCluster) -> bool:
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    try:
        return cluster.kubectl("get", "node", node.NAME, "-o", path) == "True"
    except CommandError:  # not registered yet
        return False


def _api_up(held: Held, layout: Layout) -> None:
    """Certificates, etcd and the API server; returns when it answers."""
    pki.make(layout.pki, layout.node)
    for who in pki.CLIENTS:
        server = kubeconfig.server(layout.url, layout.pki / "ca.crt")
        user = kubeconfig.certificate(layout.pki, who)
        kubeconfig.write(layout.kubeconfig(who), server, user)
    start(held, layout, "etcd")
    start(held, layout, "api-server")
    await_api(held, layout)


def await_api(held: Held, layout: Layout) -> None:
    """Wait until the API server calls itself ready."""
    context = ssl.create_default_context(cafile=str(layout.pki / "ca.crt"))
    context.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")
    direct = urllib.request.ProxyHandler({})  # whatever the environment says: it is the loopback
    opener = urllib.request.build_opener(direct, urllib.request.HTTPSHandler(context=context))
    ready = partial(_answers, layout.url + "/readyz", opener)
    until(held, layout, ready, "the API server", API_DEADLINE_S)


def until(
    held: Held, layout: Layout, condition: Callable[[], bool], what: str, deadline_s: float
) -> None:
    """Wait for a condition while every daemon lives.

    Raises:
        ClusterError: it did not come in time, or a daemon ended.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        for name, code in held.ask("status")["codes"].items():
            if code is not None:
                raise ClusterError(f"{name} ended with {code}:\n{_last_words(layout, name)}")
        if time.monotonic() > end:
            raise ClusterError(f"{what} did not get ready in {deadline_s:.0f} s: see {layout.logs}")
        time.sleep(0.05)


def _answers(url: str, opener: urllib.request.OpenerDirector) -> bool:
    try:
        with opener.open(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _exists(cluster: LocalCluster, kind: str, name: str) -> bool:
    try:
        cluster.kubectl("get", kind, name, timeout_s=10)
    except CommandError:
        return False
    return True


def _last_words(layout: Layout, name: str) -> str:
    log = layout.logs / f"{name}.log"
    return log.read_text(errors="replace")[-2000:] if log.exists() else "(no log)"
