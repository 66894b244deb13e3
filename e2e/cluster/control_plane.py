"""Command lines of etcd, the API server and the controllers, each odd flag with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.cluster.pki import SERVICE_IP

if TYPE_CHECKING:
    from e2e.cluster.layout import Layout

# Controllers that look after nodes. Without kubelets they would call every node lost, mark the pods
# of tests unready (after 50 s), evict them (after 300 s) and collect those of nodes that are none.
NODE_CONTROLLERS = (
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "pod-garbage-collector-controller",
)
# The defaults (20 and 30 a second) would make 1,000 pods of a Deployment take a minute.
CLIENT_RATE = ["--kube-api-qps=500", "--kube-api-burst=1000"]


def etcd(at: Layout) -> list[str]:
    """etcd with one member, in no hurry to be durable."""
    client, peer = f"http://127.0.0.1:{at.etcd_port}", f"http://127.0.0.1:{at.etcd_peer_port}"
    return [
        str(at.tool("etcd")),
        f"--data-dir={at.folder}/etcd",
        "--unsafe-no-fsync",  # nobody needs this data after the machine has crashed
        "--log-level=error",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def api_server(at: Layout) -> list[str]:
    """kube-apiserver with RBAC and real service accounts."""
    pki = at.pki
    return [
        str(at.tool("kube-apiserver")),
        f"--etcd-servers=http://127.0.0.1:{at.etcd_port}",
        f"--secure-port={at.port}",
        f"--tls-cert-file={pki}/server.crt",
        f"--tls-private-key-file={pki}/server.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--cert-dir={at.folder}/api-server",  # what it makes itself must not land in /var/run
        # Both, or the kubelet's own certificate may not list a thing.
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-account-key-file={pki}/sa.key",
        f"--service-account-signing-key-file={pki}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-cluster-ip-range={SERVICE_IP.rpartition('.')[0]}.0/24",
        "--profiling=false",
        *(_with_node(at) if at.full else _without_node()),
    ]


def _without_node() -> list[str]:
    return [
        "--bind-address=127.0.0.1",
        # It insists on an address that is not loopback and publishes it; nobody goes there.
        "--advertise-address=10.9.0.1",
        "--endpoint-reconciler-type=none",
        # A pod may be made in a new namespace at once, before its service account is: none runs.
        "--disable-admission-plugins=ServiceAccount",
    ]


def _with_node(at: Layout) -> list[str]:
    return [
        "--bind-address=0.0.0.0",  # the namespace's addresses: nobody else sees them
        f"--advertise-address={at.node}",
        f"--kubelet-client-certificate={at.pki}/admin.crt",
        f"--kubelet-client-key={at.pki}/admin.key",
        "--kubelet-preferred-address-types=InternalIP",  # node-1 is a name in no DNS
        # Aggregated APIs (metrics adapters) are asked as somebody: the front proxy says who.
        f"--requestheader-client-ca-file={at.pki}/ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={at.pki}/front.crt",
        f"--proxy-client-key-file={at.pki}/front.key",
        "--enable-aggregator-routing",
        "--allow-privileged",
    ]


def controllers(at: Layout) -> list[str]:
    """kube-controller-manager."""
    off = "" if at.full else "".join(f",-{name}" for name in NODE_CONTROLLERS)
    return [
        str(at.tool("kube-controller-manager")),
        f"--kubeconfig={at.kubeconfig('controllers')}",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={at.pki}/sa.key",
        f"--root-ca-file={at.pki}/ca.crt",
        f"--controllers=*{off}",
        "--bind-address=127.0.0.1",
        f"--secure-port={at.controllers_port}",
        f"--cert-dir={at.folder}/controllers",
        "--leader-elect=false",  # alone, and a lease would cost seconds after a restart
        *CLIENT_RATE,
    ]


def scheduler(at: Layout) -> list[str]:
    """kube-scheduler."""
    return [
        str(at.tool("kube-scheduler")),
        f"--kubeconfig={at.kubeconfig('scheduler')}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={at.folder}/scheduler",
        "--leader-elect=false",
        *CLIENT_RATE,
    ]
