"""A discovery that finds nothing says so, and why: after a while, and rarely from then on."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

import pytest
from cardan_router.discovery.kubernetes import discovery, missing
from cardan_router.discovery.kubernetes.discovery import KubernetesDiscovery
from cardan_router.discovery.kubernetes.missing import AGAIN_S, QUIET_S, Missing
from cardan_router.discovery_config import InferencePoolConfig, PodsConfig, ServiceConfig
from cardan_router.telemetry import Registry, metrics

from tests.fakes.kube import Answer, pod
from tests.fakes.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cardan_router.discovery_config import KubernetesConfig

    from tests.fakes.kube import FakeKube

PODS = "/api/v1/namespaces/ns/pods"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices"
POOLS = "/apis/inference.networking.k8s.io/v1/namespaces/ns/inferencepools"


def test_it_is_said_after_a_while_then_rarely_and_anew_after_something_was_found() -> None:
    told = Missing()
    assert told.look(0.0, "none") == ""
    assert told.look(QUIET_S - 0.1, "none") == ""
    assert told.look(QUIET_S, "none") == "none (nothing to send requests to for 10 s)"
    assert told.look(QUIET_S + AGAIN_S - 0.1, "none") == ""
    assert "310 s" in told.look(QUIET_S + AGAIN_S, "still none")
    assert told.look(400.0, "") == ""
    assert told.look(401.0, "none") == ""
    assert told.look(401.0 + QUIET_S, "none") != ""


@contextlib.asynccontextmanager
async def watched(config: KubernetesConfig) -> AsyncIterator[None]:
    """Discovery that reports to nobody."""
    found = KubernetesDiscovery(config, lambda _, __: None, Registry(metrics.ALL), random.Random(1))
    task = asyncio.ensure_future(found.run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def a_slice(*ready: bool, port: str = "http") -> dict[str, Any]:
    return {
        "metadata": {"name": "s", "namespace": "ns"},
        "addressType": "IPv4",
        "ports": [{"name": port, "port": 8000}, {"name": "more", "port": 8001}],
        "endpoints": [
            {"addresses": [f"10.0.0.{i}"], "conditions": {"ready": one}}
            for i, one in enumerate(ready)
        ],
    }


POD = "pods with app=vllm in ns: "
SERVICE = "Service ns/vllm: "


@pytest.mark.parametrize(
    ("kind", "objects", "words"),
    [
        ("pods", [], POD + "the selector matches no pod"),
        ("pods", [pod("a", ready=False)], POD + "pods that match: 1, but none of them is ready"),
        ("pods", [pod("a")], POD + "pods that are ready: 1, but none of them has the port nosuch"),
        ("service", [], SERVICE + "it has no EndpointSlice; is there such a Service"),
        ("service", [a_slice()], SERVICE + "it has no endpoints; do its labels match any pod?"),
        ("service", [a_slice(False)], SERVICE + "endpoints: 1, but none of them is ready"),
        ("service", [a_slice(True, port="a")], SERVICE + "ports of the Service are a (8000)"),
        ("pool", [], "InferencePool ns/vllm: there is none (nothing to send requests to"),
    ],
)
async def test_the_log_says_what_is_missing(
    kind: str,
    objects: list[dict[str, Any]],
    words: str,
    kube: FakeKube,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(missing, "QUIET_S", 0.02)
    monkeypatch.setattr(discovery, "LOOK_S", 0.01)
    kubeconfig = str(kube.kubeconfig(tmp_path))
    configs: dict[str, tuple[str, KubernetesConfig]] = {
        "pods": (
            PODS,
            PodsConfig(
                selector="app=vllm", ports=("nosuch",), namespace="ns", kubeconfig=kubeconfig
            ),
        ),
        "service": (SLICES, ServiceConfig(name="vllm", namespace="ns", kubeconfig=kubeconfig)),
        "pool": (POOLS, InferencePoolConfig(name="vllm", namespace="ns", kubeconfig=kubeconfig)),
    }
    path, config = configs[kind]
    for one in objects:
        kube.state(path).put(one)
    async with watched(config):
        await until(lambda: words in caplog.text and "for 0 s" in caplog.text, words)


async def test_a_pool_without_its_crd_is_told_as_that(
    kube: FakeKube, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kube.say(Answer(404, "the server could not find the requested resource"))
    kubeconfig = str(kube.kubeconfig(tmp_path))
    config = InferencePoolConfig(name="vllm", namespace="ns", kubeconfig=kubeconfig)
    async with watched(config):
        await until(lambda: "is the CRD InferencePool (v1) installed?" in caplog.text, "the CRD")
