"""The whole cluster is a real one: pods run, are probed and found by Services and DNS, tokens work
in them, ports are forwarded to this machine; and nothing of it stays behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.cluster import cgroups, find, held, images, kernel, procs
from e2e.cluster.errors import CommandError
from e2e.cluster.layout import Layout
from e2e.cluster.local import LocalCluster
from e2e.cluster.paths import runs
from e2e.cluster.test_api_only import start_owner, until
from e2e.cluster.versions import BASE_IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.cluster.interface import Cluster

pytestmark = pytest.mark.cluster
BEFORE = kernel.settings()  # collected before any cluster of this session starts


@pytest.fixture(scope="module")
def web(cluster: Cluster) -> Iterator[str]:
    """A namespace with a Deployment of Python's own web server, and a Service in front of it."""
    cluster.load_image(images.kept("python"))
    name = f"t{time.monotonic_ns()}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("apply", "-n", name, "-f", "-", input=json.dumps(WEB))
    cluster.kubectl("rollout", "status", "deployment/web", "-n", name, "--timeout=90s")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


LABELS = {"app": "web"}
CONTAINER = {
    "name": "web",
    "image": BASE_IMAGE,
    "imagePullPolicy": "Never",
    "command": ["python3", "-m", "http.server", "8000", "--directory", "/etc"],
    "readinessProbe": {"httpGet": {"path": "/hostname", "port": 8000}, "periodSeconds": 1},
    "securityContext": {"readOnlyRootFilesystem": True, "runAsUser": 65532},
}
WEB = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": LABELS},
                "template": {
                    "metadata": {"labels": LABELS},
                    "spec": {"containers": [CONTAINER], "terminationGracePeriodSeconds": 1},
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": LABELS, "ports": [{"port": 80, "targetPort": 8000}]},
        },
    ],
}
FETCH = "import urllib.request as u; print(u.urlopen('{}', timeout=5).status)"


def service_ip(cluster: Cluster, namespace: str) -> str:
    path = "jsonpath={.spec.clusterIP}"
    return cluster.kubectl("get", "service", "web", "-n", namespace, "-o", path)


def test_a_pod_finds_a_service_by_its_name(cluster: Cluster, web: str) -> None:
    fetch = FETCH.format(f"http://web.{web}.svc.cluster.local/hostname")
    command = ("python3", "-c", fetch)
    in_a_pod = ("exec", "-n", web, "deployment/web", "--")
    until(lambda: tried(cluster.kubectl, *in_a_pod, *command) == "200\n", "the Service answers")


def tried(do: Callable[..., str], *arguments: str) -> str:
    """What it prints, or "": kube-proxy learns of a ready pod a second after everybody else."""
    try:
        return do(*arguments)
    except CommandError:
        return ""


def test_a_command_inside_reaches_services_and_pods(cluster: Cluster, web: str) -> None:
    def reached(address: str) -> bool:
        return tried(cluster.run, "python3", "-c", FETCH.format(f"http://{address}/")) == "200\n"

    def pods() -> list[str]:
        path = "jsonpath={.items[*].status.podIP}"
        return cluster.kubectl("get", "pods", "-n", web, "-l", "app=web", "-o", path).split()

    until(lambda: reached(service_ip(cluster, web)), "the Service answers")
    assert len(pods()) == 2
    until(lambda: all(reached(f"{ip}:8000") for ip in pods()), "every pod answers")


def test_a_pod_reaches_the_api_server_with_its_own_token(cluster: Cluster, web: str) -> None:
    ask = """
import os, ssl, urllib.request as u
at = "/var/run/secrets/kubernetes.io/serviceaccount/"
request = u.Request("https://" + os.environ["KUBERNETES_SERVICE_HOST"] + "/version")
request.add_header("Authorization", "Bearer " + open(at + "token").read())
context = ssl.create_default_context(cafile=at + "ca.crt")
print(u.urlopen(request, context=context).status)
"""
    command = ("python3", "-c", ask)
    assert cluster.kubectl("exec", "-n", web, "deployment/web", "--", *command) == "200\n"


def test_a_forwarded_port_is_reached_from_this_machine(cluster: Cluster, web: str) -> None:
    kubectl = [str(find.tool("kubectl")), "--kubeconfig", str(cluster.kubeconfig)]
    argv = [*kubectl, "port-forward", "-n", web, "service/web", ":80"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        port = run.stdout.readline().partition(" -> ")[0].rpartition(":")[2]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/hostname", timeout=10) as answer:
            assert answer.status == 200
        run.terminate()


def test_helm_installs_and_uninstalls(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: c, version: 0.1.0}")
    chart = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "made-by-helm"}}
    (tmp_path / "templates" / "a.yaml").write_text(json.dumps(chart))
    cluster.helm("install", "c", str(tmp_path), "--wait")
    assert cluster.kubectl("get", "configmap", "made-by-helm", "-o", "name")
    cluster.helm("uninstall", "c", "--wait")
    with pytest.raises(CommandError, match="NotFound"):
        cluster.kubectl("get", "configmap", "made-by-helm")


def test_the_machine_keeps_its_kernel_settings_and_kubelet_has_its_own(cluster: Cluster) -> None:
    assert "node-1" in cluster.kubectl("get", "nodes", "-o", "name")  # kubelet has started
    assert kernel.settings() == BEFORE
    if not isinstance(cluster, LocalCluster):
        pytest.skip("the settings of a given cluster's node are not ours to look at")
    first = cluster.first
    mounts = Path(f"/proc/{first}/mountinfo").read_text().splitlines()
    places = {line.split()[4]: line.split()[5].split(",") for line in mounts}
    for name in kernel.SET_BY_KUBELET:
        assert f"/proc/sys/{name}" in places  # whatever is written there is not the machine's
    for part in kernel.OF_THE_MACHINE:
        assert "ro" in places[f"/proc/sys/{part}"]
    own = cluster.layout.folder / "kernel" / "kernel.panic_on_oops"
    assert own.read_text().strip() == "1"  # kubelet has what it wants


@pytest.fixture
def beside() -> Iterator[tuple[LocalCluster, subprocess.Popen[str]]]:
    """A second whole cluster and the process that owns it."""
    name = f"beside{os.getpid()}"
    with start_owner(name, "full") as owner:
        folder = runs() / name
        line = held.connect(folder)
        assert line
        yield LocalCluster(line, Layout.read(folder)), owner
        line.let_go()


def test_the_api_server_may_hang_and_be_lost_and_come_back(
    beside: tuple[LocalCluster, subprocess.Popen[str]], cluster: Cluster
) -> None:
    other, _ = beside
    other.signal("api-server", signal.SIGSTOP)
    with pytest.raises(CommandError):
        other.kubectl("get", "nodes", "--request-timeout=1s")
    other.signal("api-server", signal.SIGCONT)
    until(lambda: tried(other.kubectl, "get", "--raw", "/readyz"), "it answers again")
    other.stop("api-server")
    with pytest.raises(CommandError):
        other.kubectl("get", "nodes", "--request-timeout=1s")
    assert cluster.kubectl("get", "nodes", "-o", "name") == "node/node-1\n"
    other.start("api-server")
    assert other.kubectl("get", "nodes", "-o", "name") == "node/node-1\n"


def swept(cluster: LocalCluster) -> bool:
    """Sweep as the next start does; whether the cluster's folder is gone."""
    held.sweep()
    return not cluster.layout.folder.exists()


def test_nothing_stays_of_a_cluster_whose_owner_and_keeper_were_killed(
    beside: tuple[LocalCluster, subprocess.Popen[str]],
) -> None:
    other, owner = beside
    line = held.connect(other.layout.folder)
    assert line
    status = line.ask("status")
    network = (Path("/proc") / str(status["first"]) / "ns" / "net").readlink()
    assert len(line.ask("pids")["pids"]) >= 9
    assert len(in_network(network)) >= 9
    procs.kill(status["keeper"])
    line.let_go()
    owner.kill()
    until(lambda: not in_network(network), "the kernel has ended all in the namespace")
    assert f"/{other.name}/" not in Path("/proc/self/mounts").read_text()
    assert not {"cni0", "node0"} & {path.name for path in Path("/sys/class/net").iterdir()}
    # What the keeper was just starting, outside the namespace, has its lock until it is dead.
    until(lambda: swept(other), "the next start has swept it away")
    assert not list(cgroups.TREE.glob(f"*{cgroups.root(other.name)}"))


def test_groups_without_a_cluster_are_swept_and_those_with_one_are_not(cluster: Cluster) -> None:
    if not isinstance(cluster, LocalCluster):
        pytest.skip("a given cluster has no groups of ours")
    left = f"left{os.getpid()}"
    cgroups.create(left)
    held.sweep()
    assert left not in cgroups.names()
    assert cluster.name in cgroups.names()


def in_network(network: Path) -> list[str]:
    """The processes whose network namespace this is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "ns" / "net").readlink() == network:
                found.append(process.name)
    return found
