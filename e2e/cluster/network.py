"""The inside of a full cluster's namespaces before anything runs there.

The network namespace is a machine of its own: nothing of it is reachable from outside, nothing in
it is in anyone's way, and its addresses and ports are the same in every cluster. The mount
namespace hides the few folders that the node's components insist on, and the machine's kernel
settings; what they leave there ends with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from e2e.cluster import commands, kernel
from e2e.cluster.errors import UnavailableError
from e2e.cluster.layout import GATEWAY

if TYPE_CHECKING:
    from e2e.cluster.layout import Layout

# Folders that cannot be configured away: containerd's shims and runc (sockets, state), the pods'
# network namespaces, the results of CNI plugins, kubelet's links to logs.
HIDDEN = ("/run/containerd", "/run/netns", "/var/lib/cni", "/var/log/containers")
# The images of our tests, packed and unpacked, are 1 GB in 23,000 files. On a disk that is told of
# each block that becomes free, removing them takes half a minute. A machine with so much memory to
# spare has them there.
SPARE_BYTES = 6 << 30
BRIDGE_FILTER = Path("/proc/sys/net/bridge")


def check() -> None:
    """Look at what the kernel must have.

    Raises:
        UnavailableError: a module is missing; says which.
    """
    filesystems = Path("/proc/filesystems").read_text().split()
    if "overlay" not in filesystems:
        raise UnavailableError("a whole cluster needs overlayfs: modprobe overlay")
    if not BRIDGE_FILTER.exists():
        raise UnavailableError("a whole cluster needs bridge netfilter: modprobe br_netfilter")


def prepare(layout: Layout, first: int) -> None:
    """Fill the namespaces of which `first` is the first process."""
    for folder in HIDDEN:
        Path(folder).mkdir(parents=True, exist_ok=True)
    enter = ["nsenter", f"--target={first}", "--net", "--mount", "--pid", "--"]
    commands.output([*enter, "sh", "-ec", script(layout)])


def images_in_memory() -> bool:
    """Whether this machine has the memory to hold a cluster's images."""
    told = Path("/proc/meminfo").read_text().partition("MemAvailable:")[2].split()
    return int(told[0]) << 10 > SPARE_BYTES


def script(layout: Layout) -> str:
    """What is run inside, once."""
    hide = [f"mount -t tmpfs -o mode=755 tmpfs {folder}" for folder in HIDDEN]
    if images_in_memory():
        hide.append(f"mkdir {layout.store}")
        hide.append(f"mount -t tmpfs -o mode=755 tmpfs {layout.store}")
    return "\n".join(
        [
            # Volumes reach containers by propagation within this namespace; none goes outside.
            "mount --make-rshared /",
            *hide,
            "ip link set lo up",
            # The node's address and its default route: a pair whose other end nobody listens at.
            # Without a route cluster IPs are "no route" before kube-proxy's rules see the packet.
            # (A dummy device would do; not every kernel has one.)
            "ip link add node0 type veth peer name node1",
            f"ip addr add {layout.node}/24 dev node0",
            "ip link set node0 up",
            "ip link set node1 up",
            f"ip neigh add {GATEWAY} lladdr 02:00:00:00:00:01 dev node0",
            f"ip route add default via {GATEWAY} dev node0",
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
            # A pod that calls a Service whose pod is on the same bridge: the answer must be seen.
            "echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables",
            *kernel.script(layout.folder / "kernel"),
        ]
    )
