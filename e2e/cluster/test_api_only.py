"""The API-only cluster is a real API server: RBAC, tokens, outages, compaction; and it leaves
nothing behind, whichever way its owner ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from e2e.cluster import held, procs
from e2e.cluster.errors import CommandError
from e2e.cluster.paths import ROOT, locked, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.cluster.interface import Cluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def namespace(api: Cluster) -> Iterator[str]:
    name = f"t{time.monotonic_ns()}"
    api.kubectl("create", "namespace", name)
    yield name
    api.kubectl("delete", "namespace", name, "--wait=false")


def until(condition: Callable[[], object], what: str, deadline_s: float = 30.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"waited {deadline_s} s in vain: {what}"
        time.sleep(0.05)


def test_the_server_has_the_version_that_was_asked_for(api: Cluster) -> None:
    told = json.loads(api.kubectl("version", "-o", "json"))
    assert told["serverVersion"]["major"] == "1"


def test_a_service_account_may_do_what_its_role_says_and_no_more(
    api: Cluster, namespace: str
) -> None:
    api.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    rights = ("--verb=list", "--resource=pods")
    api.kubectl("create", "role", "reader", *rights, "-n", namespace)
    subject = f"--serviceaccount={namespace}:reader"
    api.kubectl("create", "rolebinding", "reader", "--role=reader", subject, "-n", namespace)
    own = ("--kubeconfig", str(api.kubeconfig_for(namespace, "reader")))
    assert api.kubectl(*own, "get", "pods", "-o", "name") == ""
    with pytest.raises(CommandError, match="cannot list resource"):
        api.kubectl(*own, "get", "secrets")


POD = """\
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "engine"},
 "spec": {"nodeName": "nowhere", "containers": [{"name": "c", "image": "none"}]}}"""
STATUS = """\
{"status": {"phase": "Running", "podIP": "127.0.1.1", "podIPs": [{"ip": "127.0.1.1"}],
 "conditions": [{"type": "Ready", "status": "True"}]}}"""


def test_a_pod_is_ready_because_the_test_says_so_and_terminates_until_it_is_removed(
    api: Cluster, namespace: str
) -> None:
    def pods(path: str) -> str:
        return api.kubectl("get", "pods", "-n", namespace, "-o", f"jsonpath={{.items[*]{path}}}")

    api.kubectl("create", "-n", namespace, "-f", "-", input=POD)
    patch = ("--subresource=status", "--type=merge", "-p", STATUS)
    api.kubectl("patch", "pod", "engine", "-n", namespace, *patch)
    assert pods(".status.podIP") == "127.0.1.1"
    api.kubectl("delete", "pod", "engine", "-n", namespace, "--wait=false")
    assert pods(".metadata.deletionTimestamp") != ""
    api.kubectl("delete", "pod", "engine", "-n", namespace, "--force", "--grace-period=0")
    until(lambda: pods(".metadata.name") == "", "the pod is gone")


def test_what_was_there_before_an_outage_is_there_after_it(private_api: Cluster) -> None:
    private_api.kubectl("create", "namespace", "kept")
    private_api.stop("api-server")
    with pytest.raises(CommandError, match=r"refused|EOF|reset"):
        private_api.kubectl("get", "namespace", "kept")
    private_api.start("api-server")
    assert "kept" in private_api.kubectl("get", "namespace", "kept", "-o", "name")


def test_a_watch_from_before_a_compaction_is_gone(private_api: Cluster) -> None:
    def watch(version: str) -> str:
        path = "/api/v1/pods?watch=1&timeoutSeconds=1"
        return private_api.kubectl("get", "--raw", f"{path}&resourceVersion={version}")

    listed = json.loads(private_api.kubectl("get", "--raw", "/api/v1/pods"))
    before = listed["metadata"]["resourceVersion"]
    assert '"code":410' not in watch(before)
    private_api.kubectl("create", "configmap", "later")
    assert private_api.compact() > int(before)
    private_api.stop("api-server")
    private_api.start("api-server")
    assert '"code":410' in watch(before)


OWNER = """\
import sys, time
from e2e.cluster import up
with getattr(up, sys.argv[2])(sys.argv[1]) as cluster:
    print("up", flush=True)
    time.sleep(600)
"""


@contextmanager
def start_owner(name: str, flavour: str = "api") -> Iterator[subprocess.Popen[str]]:
    """A process that holds a cluster of its own, once it is up; whatever fails, it is ended."""
    argv = [sys.executable, "-c", OWNER, name, flavour]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout
            assert owner.stdout.readline() == "up\n"
            yield owner
        finally:
            owner.kill()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_when_the_owner_ends(api: Cluster, signum: signal.Signals) -> None:
    name = f"end{signum:d}-{os.getpid()}"
    with start_owner(name) as owner:
        folder = runs() / f"{name}-api"
        line = held.connect(folder)
        assert line
        pids = line.ask("pids")["pids"].values()
        line.let_go()
        assert len(pids) >= 2
        owner.send_signal(signum)
        owner.wait(timeout=30)
    until(lambda: not folder.exists(), "the folder is gone")
    until(lambda: not any(map(procs.name, pids)), "the daemons are gone")


def test_what_a_killed_keeper_left_is_removed_by_the_next_start(api: Cluster) -> None:
    name = f"orphan{os.getpid()}"
    with start_owner(name) as owner:
        folder = runs() / f"{name}-api"
        line = held.connect(folder)
        assert line
        pids = line.ask("pids")["pids"].values()
        keeper = line.ask("status")["keeper"]
        line.let_go()
        with locked(runs() / ".lock"):  # others start clusters beside us, and sweep before it
            procs.kill(keeper)
            until(lambda: not any(map(procs.name, pids)), "the kernel ended the daemons")
            owner.kill()
            assert folder.exists()
    held.sweep()
    assert not folder.exists()
