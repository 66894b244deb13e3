"""Pods become supply: ready, on the way, stuck, or no longer ours to count."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.scaling.drain import DRAINING_COST, RELEASED_COST
from cardan_controller.cluster.pods import (
    DELETION_COST,
    KEPT_COST,
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


def lived(*lives: Any, **meta: Any) -> PodFacts:
    """A pod that was seen with these conditions, one after the other."""
    seen: PodFacts | None = None
    for conditions in lives:
        read = read_pod(pod(conditions=conditions, **meta), {"serving/vllm-0": seen}.get)
        assert read is not None
        seen = read
    assert seen is not None
    return seen


def at(condition: Any, moment: str) -> Any:
    """A condition that became so then."""
    return {**condition, "lastTransitionTime": moment}


def test_a_ready_pod_tells_how_long_it_took_to_start() -> None:
    state = pool_state(1, [lived([], [IS_READY])], {}, NOW)
    assert (state.desired, state.ready, state.pending) == (1, 1, ())
    assert state.started_s == (150.0,)


def test_one_that_started_long_ago_teaches_nothing() -> None:
    later = WallTime(NOW + 86_400.0)
    assert pool_state(1, [lived([], [IS_READY])], {}, later).started_s == ()


def test_one_that_is_ready_at_the_first_look_may_have_been_so_before_and_teaches_nothing() -> None:
    state = pool_state(1, [facts(conditions=[IS_READY])], {}, NOW)
    assert (state.ready, state.started_s) == (1, ())


def test_only_the_first_time_that_it_is_ready_is_its_start() -> None:
    later, again = "2026-11-21T15:00:00Z", "2026-11-21T15:00:20Z"
    lives: tuple[Any, ...] = ([], [IS_READY], [at(NOT_READY, later)], [at(IS_READY, again)])
    now = WallTime(instant(again))
    assert pool_state(1, [lived(*lives)], {}, now).started_s == ()
    early = WallTime(instant(READY) + 60.0)
    assert pool_state(1, [lived(*lives[:3])], {}, early).started_s == (150.0,)


def test_one_that_was_ready_is_late_from_when_it_was_so_no_more() -> None:
    later = "2026-11-21T15:00:00Z"
    blip = lived([IS_READY], [at(NOT_READY, later)])
    (pending,) = pool_state(1, [blip], {}, WallTime(instant(later) + 5.0)).pending
    assert pending.since == instant(later)


def test_a_new_pod_under_an_old_name_starts_anew() -> None:
    first = lived([], [IS_READY])
    read = read_pod(pod(uid="another"), {"serving/vllm-0": first}.get)
    assert read is not None
    (pending,) = pool_state(1, [read], {}, NOW).pending
    assert pending.since == instant(CREATED)


def test_an_operator_that_has_only_just_come_can_tell_a_blip_from_a_start() -> None:
    """Kubelet says that a pod is not ready when it takes it up, and not again before it was."""
    ran, later, again = "2026-11-21T10:00:03Z", "2026-11-21T15:00:00Z", "2026-11-21T15:00:20Z"
    initialized = at({"type": "Initialized", "status": "True"}, ran)
    now = WallTime(instant(again))
    blip = lived([initialized, at(NOT_READY, later)])
    (pending,) = pool_state(1, [blip], {}, now).pending
    assert pending.since == instant(later)
    over = lived([initialized, at(NOT_READY, later)], [initialized, at(IS_READY, again)])
    assert pool_state(1, [over], {}, now).started_s == ()
    start = lived([initialized, at(NOT_READY, ran)])
    (pending,) = pool_state(1, [start], {}, now).pending
    assert pending.since == instant(CREATED)


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


def test_a_pods_own_deletion_cost_is_the_one_before_our_mark() -> None:
    def own(**costs: str) -> int | None:
        return facts(annotations={names[of]: cost for of, cost in costs.items()}).own_cost

    names = {"now": DELETION_COST, "before": KEPT_COST}
    assert own() is None
    assert own(now="5") == 5
    assert own(now=str(DRAINING_COST)) is None
    assert own(now=str(RELEASED_COST), before="5") == 5
    assert own(now="7", before="5") == 7


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
