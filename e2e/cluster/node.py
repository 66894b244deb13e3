"""The node: containerd with runc, the bridge CNI plugin, kubelet, kube-proxy and CoreDNS.

Each has a configuration file, written here, and a command line. Files are JSON where the component
reads YAML.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from e2e.cluster import cgroups
from e2e.cluster.layout import POD_SUBNET
from e2e.cluster.versions import PAUSE_IMAGE

if TYPE_CHECKING:
    from e2e.cluster.layout import Layout

NAME = "node-1"
CNI_PLUGINS = "/usr/lib/cni"  # where Debian's package has them

CONTAINERD = """\
version = 2
root = "{store}"
state = "{at}/containerd-state"
[grpc]
  address = "{at}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{at}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE runc may not lower a score, and every sandbox fails with
  # "can't get final child's PID from pipe: EOF".
  restrict_oom_score_adj = true
  sandbox_image = "{pause}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{at}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
COREFILE = """\
.:53 {{
  bind {node}
  errors
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {kubeconfig}
    pods insecure
    ttl 1
  }}
  cache 1
}}
"""


def configure(at: Layout) -> None:
    """Write every configuration file."""
    containerd = CONTAINERD.format(at=at.folder, store=at.store, pause=PAUSE_IMAGE, cni=CNI_PLUGINS)
    (at.folder / "containerd.toml").write_text(containerd)
    (at.folder / "cni").mkdir()
    _json(at, "cni/pods.conflist", _cni(at))
    (at.folder / "resolv.conf").write_text(f"nameserver {at.node}\n")
    _json(at, "kubelet.json", _kubelet(at))
    _json(at, "proxy.json", _proxy(at))
    corefile = COREFILE.format(node=at.node, kubeconfig=at.kubeconfig("admin"))
    (at.folder / "Corefile").write_text(corefile)


def containerd(at: Layout) -> list[str]:
    """The container runtime, of the distribution."""
    return ["containerd", "--config", f"{at.folder}/containerd.toml"]


def kubelet(at: Layout) -> list[str]:
    """kubelet, as the node's own identity."""
    return [
        str(at.tool("kubelet")),
        f"--config={at.folder}/kubelet.json",
        f"--kubeconfig={at.kubeconfig('node')}",
        f"--hostname-override={NAME}",
        f"--root-dir={at.folder}/kubelet",
        f"--cert-dir={at.folder}/kubelet-pki",
        f"--node-ip={at.node}",  # a loopback address would do for all but `kubectl exec` and `logs`
    ]


def proxy(at: Layout) -> list[str]:
    """kube-proxy."""
    return [str(at.tool("kube-proxy")), f"--config={at.folder}/proxy.json"]


def dns(at: Layout) -> list[str]:
    """CoreDNS, a process beside the pods: pods ask the node's address."""
    return [str(at.tool("coredns")), "-conf", f"{at.folder}/Corefile"]


def _cni(at: Layout) -> dict[str, object]:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isDefaultGateway": True,  # isGateway alone leaves pods without a way to cluster IPs
        "hairpinMode": True,  # a pod that reaches itself by its Service
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": POD_SUBNET}]],
            "dataDir": f"{at.folder}/ipam",
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]}


def _kubelet(at: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": at.node,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{at.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupRoot": cgroups.root(at.folder.name),
        "cgroupDriver": "cgroupfs",  # no systemd needs to be here
        "failCgroupV1": False,  # 1.36 would refuse hybrid hierarchies
        "failSwapOn": False,
        "clusterDomain": "cluster.local",
        "clusterDNS": [at.node],
        "resolvConf": f"{at.folder}/resolv.conf",
        "containerRuntimeEndpoint": f"unix://{at.folder}/containerd.sock",
        "enforceNodeAllocatable": [],
        # The machine's disk and memory are its owner's business: no pod is evicted for them.
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "maxPods": 250,  # the pods' subnet has no more addresses
        "podLogsDir": f"{at.folder}/pod-logs",
    }


def _proxy(at: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "bindAddress": at.node,
        "clientConnection": {"kubeconfig": str(at.kubeconfig("admin"))},
        "clusterCIDR": POD_SUBNET,
        "hostnameOverride": NAME,
        "conntrack": {"maxPerCore": 0, "min": 0},  # sysctls that are the machine's stay as they are
    }


def _json(at: Layout, name: str, value: object) -> None:
    (at.folder / name).write_text(json.dumps(value, indent=1))
