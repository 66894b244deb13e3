"""Pods become supply: ready, on the way, stuck, or no longer ours to count."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan_controller.cluster.pods import (
    PodFacts,
    PodIndex,
    endpoint_of,
    instant,
    pool_state,
    read_pod,
)
from cardan_controller.cluster.selectors import parse

CREATED = "2026-11-21T10:00:00Z"
READY = "2026-11-21T10:02:30Z"
NOW = WallTime(instant("2026-11-21T10:10:00Z"))


def pod(
    name: str = "vllm-0", conditions: Any = (), phase: str = "Running", **meta: Any
) -> msgspec.Raw:
    """A pod as the API prints it."""
    metadata = {
        "name": name,
        "namespace": "serving",
        "uid": f"uid-{name}",
        "creationTimestamp": CREATED,
        "labels": {"app": "vllm"},
        **meta,
    }
    status = {"phase": phase, "conditions": list(conditions)}
    return msgspec.Raw(msgspec.json.encode({"metadata": metadata, "status": status}))


def facts(name: str = "vllm-0", *args: Any, **kwargs: Any) -> PodFacts:
    """The facts of a pod that has not ended."""
    read = read_pod(pod(name, *args, **kwargs))
    assert read is not None
    return read


IS_READY = {"type": "Ready", "status": "True", "lastTransitionTime": READY}
NOT_READY = {"type": "Ready", "status": "False", "lastTransitionTime": READY}
STUCK = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/4 nodes are available: 4 Insufficient nvidia.com/gpu.",
}


def test_a_ready_pod_tells_how_long_it_took_to_start() -> None:
    state = pool_state(1, [facts(conditions=[IS_READY])], {}, NOW)
    assert (state.desired, state.ready, state.pending) == (1, 1, ())
    assert state.started_s == (150.0,)


def test_one_that_started_long_ago_teaches_nothing() -> None:
    later = WallTime(NOW + 86_400.0)
    assert pool_state(1, [facts(conditions=[IS_READY])], {}, later).started_s == ()


@pytest.mark.parametrize("conditions", [[], [NOT_READY], [STUCK]])
def test_one_that_is_not_ready_is_on_the_way(conditions: Any) -> None:
    state = pool_state(1, [facts(conditions=conditions, phase="Pending")], {}, NOW)
    assert state.ready == 0
    (pending,) = state.pending
    assert (pending.name, pending.since) == ("vllm-0", instant(CREATED))
    assert pending.unschedulable == (STUCK["message"] if conditions == [STUCK] else "")


def test_one_that_leaves_is_no_supply() -> None:
    leaving = facts(conditions=[IS_READY], deletionTimestamp=READY)
    state = pool_state(1, [leaving], {}, NOW)
    assert (state.ready, state.pending) == (0, ())


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_one_that_has_ended_is_none(phase: str) -> None:
    assert read_pod(pod(phase=phase)) is None


def test_draining_endpoints_are_named() -> None:
    pods = [facts("vllm-0", [IS_READY]), facts("vllm-1", [IS_READY])]
    drains = {"vllm-1": EndpointId("vllm-1"), "elsewhere": EndpointId("elsewhere")}
    assert pool_state(2, pods, drains, NOW).draining == ("vllm-1",)


@pytest.mark.parametrize(("text", "cost"), [("-100", -100), ("much", None)])
def test_the_deletion_cost_is_read(text: str, cost: int | None) -> None:
    named = {"controller.kubernetes.io/pod-deletion-cost": text}
    assert facts(annotations=named).deletion_cost == cost


def test_what_go_leaves_out_or_writes_as_null_is_understood() -> None:
    raw = msgspec.Raw(b'{"metadata":{"name":"a","namespace":"n"},"status":{"conditions":null}}')
    read = read_pod(raw)
    assert read is not None
    assert (read.ready_at, read.created_at) == (None, 0.0)


def test_pods_are_found_by_namespace_and_selector() -> None:
    pods = [facts("b"), facts("a"), facts("c", labels={"app": "other"}), facts("d", labels={})]
    pods.append(facts("e", namespace="elsewhere"))
    index = PodIndex(pods)
    assert [one.name for one in index.find("serving", parse("app=vllm"))] == ["a", "b"]
    assert [one.name for one in index.find("serving", parse("app!=vllm"))] == ["c", "d"]
    assert index.find("serving", parse("")) == []


def test_an_endpoint_is_named_as_the_gateways_name_it() -> None:
    assert endpoint_of(facts(), with_namespace=False) == "vllm-0"
    assert endpoint_of(facts(), with_namespace=True) == "serving/vllm-0"
