"""The chart on a cluster where pods run: it installs into a restricted namespace, its own test
sends a request, each way of finding engines works with the rights it brings, and a changed
configuration is taken over without a restart. That nothing is left of it: `e2e.deploy`.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from e2e.chart.conftest import SMALL, released
from e2e.cluster import find
from e2e.cluster.errors import CommandError
from e2e.cluster.paths import ROOT
from e2e.discovery.test_kinds import POOL_CRD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.chart.conftest import Release
    from e2e.cluster.interface import Cluster

pytestmark = pytest.mark.cluster
KEY = "sk-client-0123456789"
ENGINE_KEY = "sk-engine-0123456789"
# Engines ten times as fast, so that answers take no time of a test's.
ENGINES: dict[str, Any] = {
    "simulated": {"enabled": True, "replicas": 2, "speed": 10, "resources": SMALL}
}
# kubelet looks for changed ConfigMaps and Secrets once a minute or so; a changed annotation on the
# pod makes it look at once.
NUDGE = "cardan.dev/nudge"


def until(condition: Callable[[], object], what: str, deadline_s: float = 60.0) -> None:
    """Wait for a condition, or fail."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"waited {deadline_s} s in vain: {what}"
        time.sleep(0.1)


def gateway_pods(release: Release) -> list[Any]:
    """The gateways, without those that are on their way out."""
    found = release.get("pods", "-l", "app.kubernetes.io/component=router")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def nudge(release: Release) -> None:
    """Have kubelet bring changed ConfigMaps and Secrets into the gateways now."""
    for pod in gateway_pods(release):
        name = pod["metadata"]["name"]
        release.kubectl("annotate", "--overwrite", "pod", name, f"{NUDGE}={time.monotonic_ns()}")


def logs(release: Release) -> str:
    """What all gateways have said, without their access logs."""
    told = release.kubectl(
        "logs", "-l", "app.kubernetes.io/component=router", "--tail=-1", "--prefix"
    )
    return "\n".join(line for line in told.splitlines() if '"outcome"' not in line)


@pytest.fixture(scope="module")
def installed(cluster: Cluster, tag: str) -> Iterator[tuple[Release, str]]:
    """A release with the chart's own settings and two engines, and the notes that came of it."""
    with released(cluster, tag) as release:
        yield release, release.upgrade({"engines": ENGINES})


def test_pods_run_as_they_are_and_only_who_watches_has_a_token(
    installed: tuple[Release, str],
) -> None:
    release, _ = installed
    assert release.explain()["endpoint"].startswith("cardan-engine-")  # by its pod's name
    for pod in release.get("pods")["items"]:
        for status in pod["status"]["containerStatuses"]:
            assert status["restartCount"] == 0
        # Only who watches is somebody to the API server, and has a token to show for it.
        watches = pod["metadata"]["labels"]["app.kubernetes.io/component"] == "router"
        assert (pod["spec"]["serviceAccountName"] == "cardan-router") is watches
        mounts = pod["spec"]["containers"][0].get("volumeMounts", [])
        assert ("serviceaccount" in json.dumps(mounts)) is watches


@pytest.mark.parametrize(
    "kubernetes",
    [
        {"kind": "service", "name": "cardan-engine", "ports": []},
        {"kind": "pods", "selector": "cardan.dev/engine=sglang", "ports": ["http"]},
        {"kind": "pods", "namespace": "*", "selector": "of={namespace}"},
        {"kind": "inference_pool", "name": "engines"},
    ],
    ids=["service", "named port", "all namespaces", "inference pool"],
)
def test_each_way_of_finding_engines_has_the_rights_it_needs(
    release: Release, kubernetes: dict[str, Any]
) -> None:
    own = {"of": release.namespace}
    if kubernetes["kind"] == "inference_pool":
        release.apply(POOL_CRD)
        crd = f"crd/{POOL_CRD['metadata']['name']}"
        release.kubectl("wait", "--for=condition=Established", crd, "--timeout=30s")
    engines = {"simulated": {**ENGINES["simulated"], "kind": "sglang", "podLabels": own}}
    found = {
        name: value.format(namespace=release.namespace) if name == "selector" else value
        for name, value in kubernetes.items()
    }
    release.upgrade(
        {
            "engines": engines,
            "discovery": {"kubernetes": found},
            "router": {"replicas": 1},
            "extraObjects": [pool(own)] if kubernetes["kind"] == "inference_pool" else [],
        }
    )
    until(lambda: healthy(release) == 2, "both engines to be asked")
    assert "cardan-engine-" in release.explain()["endpoint"]
    release.kubectl("scale", "deployment/cardan-engine", "--replicas=1")
    until(lambda: healthy(release) == 1, "one of them to go")
    assert "cardan-engine-" in release.explain()["endpoint"]
    assert "forbidden" not in logs(release)


def pool(labels: dict[str, str]) -> dict[str, Any]:
    """An InferencePool of the pods with these labels."""
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": "engines", "namespace": "{{ .Release.Namespace }}"},
        "spec": {"selector": {"matchLabels": labels}, "targetPorts": [{"number": 8000}]},
    }


def healthy(release: Release) -> int:
    """How many endpoints the gateway would ask."""
    (pod,) = gateway_pods(release)
    told = release.cluster.run("curl", "-sf", f"http://{pod['status']['podIP']}:9090/metrics")
    return len(re.findall(r'^cardan_endpoint_state\{.*state="healthy"\} 1', told, re.MULTILINE))


def test_a_gateway_with_a_fixed_list_has_no_token(release: Release) -> None:
    endpoint = f"http://cardan-engine.{release.namespace}.svc:8000"
    release.upgrade(
        {
            "engines": {"simulated": {**ENGINES["simulated"], "replicas": 1}},
            "discovery": {"kubernetes": {"kind": "none"}},
            "config": {"endpoints": [endpoint]},
            "router": {"replicas": 1},
        }
    )
    assert release.explain()["endpoint"].startswith("endpoint-")
    (pod,) = gateway_pods(release)
    assert "serviceaccount" not in json.dumps(pod["spec"]["containers"][0]["volumeMounts"])


def test_a_changed_configuration_is_taken_over_and_only_what_needs_it_restarts(
    release: Release,
) -> None:
    first = {"engines": ENGINES, "config": {"policy": "round-robin"}}
    release.upgrade(first)
    before = {pod["metadata"]["uid"] for pod in gateway_pods(release)}
    assert release.explain()["reason"] == "policy"

    release.upgrade({**first, "config": {"policy": "dualmap", "slo": {"ttft_ms": 2000}}})
    nudge(release)
    until(lambda: logs(release).count("reload: done") >= len(before), "both to reload")
    assert {pod["metadata"]["uid"] for pod in gateway_pods(release)} == before
    assert release.explain()["reason"] != "policy"

    release.upgrade({**first, "config": {"policy": "dualmap", "workers": 2}})
    assert not before & {pod["metadata"]["uid"] for pod in gateway_pods(release)}
    assert release.explain()["reason"] != "policy"


def hashed(name: str, key: str) -> str:
    """A line of the file of keys."""
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"


def test_keys_of_clients_and_of_engines_come_from_secrets_and_follow_their_change(
    release: Release,
) -> None:
    def client(key: str) -> None:
        release.apply(secret("clients", {"keys": hashed("alice", key) + "\n"}))
        release.apply(secret("tester", {"api-key": key}))

    def asks(key: str) -> bool:
        path = release.cluster.kubeconfig.parent / f"{release.namespace}.key"
        path.write_text(key)
        try:
            release.explain("--api-key-file", str(path))
        except CommandError as error:
            if "401" not in str(error):
                raise
            return False
        return True

    client(KEY)
    release.apply(secret("engines", {"api-key": ENGINE_KEY}))
    release.upgrade(
        {
            "engines": ENGINES,
            "router": {
                "replicas": 1,
                "apiKeys": {"existingSecret": "clients"},
                "engineKey": {"existingSecret": "engines"},
            },
            "test": {"apiKeySecret": "tester"},
        }
    )
    assert "Succeeded" in release.helm("test", "cardan", "--timeout", "90s")
    assert asks(KEY)
    assert not asks("sk-nobodys-0123456789")
    client("sk-another-0123456789")
    nudge(release)
    until(lambda: asks("sk-another-0123456789"), "the new key")
    assert not asks(KEY)


def secret(name: str, data: dict[str, str]) -> dict[str, Any]:
    """A Secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": data,
    }


def test_with_tls_the_api_is_encrypted_and_the_probes_still_answer(release: Release) -> None:
    folder = release.cluster.kubeconfig.parent
    key, cert = folder / "tls.key", folder / "tls.crt"
    subject = [
        "-subj",
        "/CN=cardan",
        "-addext",
        f"subjectAltName=DNS:cardan.{release.namespace}.svc",
    ]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    release.cluster.run(
        *("openssl", "req", "-x509", *curve, "-nodes", "-days", "2", *subject),
        *("-keyout", str(key), "-out", str(cert)),
    )
    release.kubectl("create", "secret", "tls", "own", f"--cert={cert}", f"--key={key}")
    tls = {"tls": {"existingSecret": "own"}, "replicas": 1}
    release.upgrade({"engines": ENGINES, "router": tls})
    assert "Succeeded" in release.helm("test", "cardan", "--timeout", "90s")
    with pytest.raises(CommandError):
        release.explain()  # plain HTTP


def test_the_commands_of_the_notes_work(installed: tuple[Release, str]) -> None:
    release, notes = installed
    assert f"helm test cardan -n {release.namespace}" in notes
    assert "Succeeded" in release.helm("test", "cardan", "--timeout", "90s")
    command = [
        *(str(find.tool("kubectl")), "--kubeconfig", str(release.cluster.kubeconfig)),
        *("-n", release.namespace, "port-forward", "deploy/cardan-router", ":9090"),
    ]
    forward = subprocess.Popen(
        release.cluster.inside(command), stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert forward.stdout is not None
        told = re.search(r"127\.0\.0\.1:(\d+) ->", forward.stdout.readline())
        assert told
        script = (
            "import sys, urllib.request;"
            f"print(urllib.request.urlopen('http://127.0.0.1:{told[1]}/ui').read().decode())"
        )
        page = release.cluster.run(str(ROOT / ".venv/bin/python"), "-c", script)
        assert "<title>" in page
    finally:
        forward.terminate()
        forward.communicate()
