"""What pods, EndpointSlices and InferencePools say of engines, and what they keep to themselves."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cardan.endpoint import EngineKind, Role
from cardan_kube.frames import GarbageError, read_event, read_page
from cardan_router.discovery.kubernetes.pods import PodFacts, pod_sightings, read_pod
from cardan_router.discovery.kubernetes.pools import PoolFacts, read_pool
from cardan_router.discovery.kubernetes.slices import (
    port_complaint,
    read_slice,
    slice_sightings,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.kube import pod

if TYPE_CHECKING:
    from cardan_router.discovery.kubernetes.sighting import Sighting


def raw(found: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(found).encode())


def facts(*args: Any, **kwargs: Any) -> PodFacts:
    """The facts of a pod that is an engine."""
    read = read_pod(raw(pod(*args, **kwargs)))
    assert read is not None
    return read


def seen(found: PodFacts, *ports: int | str) -> dict[str, str]:
    """URLs by name."""
    sightings = pod_sightings(found, ports or (8000,), with_namespace=False)
    return {sighting.endpoint.id: sighting.endpoint.url for sighting in sightings}


# -- pods ------------------------------------------------------------------------------------------


def test_a_pod_that_runs_is_an_endpoint_by_its_name() -> None:
    assert seen(facts("vllm-0", "10.1.2.3")) == {"vllm-0": "http://10.1.2.3:8000"}
    assert seen(facts("vllm-0", "fd00::7")) == {"vllm-0": "http://[fd00::7]:8000"}


def test_in_all_namespaces_the_namespace_is_part_of_the_name() -> None:
    (sighting,) = pod_sightings(facts("a", namespace="team"), (8000,), with_namespace=True)
    assert sighting.endpoint.id == "team/a"


@pytest.mark.parametrize("ready", [True, False])
def test_readiness_is_the_condition_ready(ready: bool) -> None:
    (sighting,) = pod_sightings(facts("a", ready=ready), (8000,), with_namespace=False)
    assert sighting.ready is ready


def test_a_pod_without_conditions_is_not_ready() -> None:
    found = pod("a")
    del found["status"]["conditions"]
    read = read_pod(raw(found))
    assert read is not None
    assert not read.ready


@pytest.mark.parametrize(
    "change",
    [
        {"deleting": True},
        {"phase": "Pending"},
        {"phase": "Failed"},
        {"phase": "Succeeded"},
        {"address": ""},
    ],
)
def test_a_pod_that_ends_or_has_not_begun_is_no_endpoint(change: dict[str, Any]) -> None:
    assert read_pod(raw(pod("a", **change))) is None


def test_several_ports_are_several_endpoints() -> None:
    assert seen(facts("a", "10.0.0.1"), 8000, 8001) == {
        "a:8000": "http://10.0.0.1:8000",
        "a:8001": "http://10.0.0.1:8001",
    }


def test_ports_go_by_the_names_that_containers_give_them() -> None:
    found = facts("a", ports={"http": 9000, "metrics": 9001})
    assert seen(found, "http") == {"a": "http://10.0.0.1:9000"}
    assert seen(found, "http", 9000) == {"a:9000": "http://10.0.0.1:9000"}
    assert seen(found, "grpc") == {}


def test_a_sidecar_that_is_an_init_container_has_ports_too() -> None:
    found = pod("a")
    found["spec"]["initContainers"] = [{"ports": [{"name": "proxy", "containerPort": 7000}]}]
    read = read_pod(raw(found))
    assert read is not None
    assert seen(read, "proxy") == {"a": "http://10.0.0.1:7000"}


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("8000,8001", {"a:8000", "a:8001"}),
        (" 8001 , 9999", {"a:8001"}),
        ("", set()),
        ("none", set()),
    ],
)
def test_only_active_ports_are_asked(said: str, names: set[str]) -> None:
    for annotation in ("llm-d.ai/active-ports", "inference.networking.k8s.io/active-ports"):
        found = facts("a", annotations={annotation: said})
        assert set(seen(found, 8000, 8001, 8002)) == names


def test_labels_tell_what_the_api_cannot() -> None:
    told = {
        "cardan.dev/role": "prefill",
        "cardan.dev/engine": "sglang",
        "cardan.dev/weight": "2.5",
    }
    model = {"cardan.dev/model": "org/llama, other"}
    (sighting,) = pod_sightings(
        facts("a", labels=told, annotations=model), (8000,), with_namespace=False
    )
    endpoint = sighting.endpoint
    assert (endpoint.role, endpoint.engine, endpoint.weight) == (
        Role.PREFILL,
        EngineKind.SGLANG,
        2.5,
    )
    assert endpoint.models == ("org/llama", "other")


@pytest.mark.parametrize(
    ("labels", "role", "engine"),
    [
        ({"llm-d.ai/role": "decode"}, Role.DECODE, EngineKind.AUTO),
        ({"llm-d.ai/role": "prefill-decode"}, Role.BOTH, EngineKind.AUTO),
        ({"llm-d.ai/role": "encode"}, Role.BOTH, EngineKind.AUTO),
        ({"llm-d.ai/role": "decode", "cardan.dev/role": "both"}, Role.BOTH, EngineKind.AUTO),
        ({"llm-d.ai/engine-type": "vllm"}, Role.BOTH, EngineKind.VLLM),
        (
            {"inference.networking.k8s.io/engine-type": "triton"},
            Role.BOTH,
            EngineKind.AUTO,
        ),
    ],
)
def test_foreign_labels_are_hints(labels: dict[str, str], role: Role, engine: EngineKind) -> None:
    traits = facts("a", labels=labels).traits
    assert (traits.role, traits.engine) == (role, engine)


@pytest.mark.parametrize(
    "labels",
    [
        {"cardan.dev/role": "prefil"},
        {"cardan.dev/engine": "vlm"},
        {"cardan.dev/weight": "0"},
        {"cardan.dev/weight": "nan"},
        {"cardan.dev/weight": "heavy"},
    ],
)
def test_a_label_of_ours_that_is_wrong_keeps_the_pod_out_and_is_named(
    labels: dict[str, str],
) -> None:
    page = {"metadata": {"resourceVersion": "7"}, "items": [pod("a", labels=labels), pod("b")]}
    readings = read_page(json.dumps(page).encode(), read_pod).readings
    assert [reading.value is None for reading in readings] == [True, False]
    assert next(iter(labels)) in readings[0].complaint
    assert readings[0].complaint.startswith("ns/a: ")


def test_what_changes_nothing_for_us_is_equal() -> None:
    again = pod("a")
    again["metadata"]["resourceVersion"] = "99"
    again["status"]["startTime"] = "2026-01-01T00:00:00Z"
    assert read_pod(raw(again)) == facts("a")


# -- slices ----------------------------------------------------------------------------------------


def one_slice(*endpoints: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "s", "namespace": "ns", "resourceVersion": "1"},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}],
        "endpoints": list(endpoints) or None,
        **fields,
    }


def entry(name: str, address: str = "10.0.0.1", **conditions: bool) -> dict[str, Any]:
    return {
        "addresses": [address],
        "conditions": conditions,
        "targetRef": {"kind": "Pod", "name": name, "namespace": "ns", "uid": f"uid-{name}"},
    }


def found_in(*slices: dict[str, Any], ports: tuple[int | str, ...] = ()) -> tuple[Sighting, ...]:
    return slice_sightings([read_slice(raw(one)) for one in slices], ports)


def test_a_services_endpoints_go_by_their_pods() -> None:
    (sighting,) = found_in(one_slice(entry("a", ready=True)))
    assert (sighting.endpoint.id, sighting.endpoint.url) == ("a", "http://10.0.0.1:8000")
    assert sighting.ready
    assert sighting.uid == "uid-a"


def test_an_endpoint_that_is_no_pod_goes_by_its_url() -> None:
    (sighting,) = found_in(one_slice({"addresses": ["10.0.0.9"]}))
    assert sighting.endpoint.id == "http://10.0.0.9:8000"
    assert sighting.ready, "unknown is ready"


def test_unready_endpoints_are_known_and_terminating_ones_gone() -> None:
    sightings = found_in(
        one_slice(
            entry("a", "10.0.0.1", ready=False, serving=False, terminating=False),
            entry("b", "10.0.0.2", ready=False, serving=True, terminating=True),
            entry("c", "10.0.0.3", ready=True, serving=True, terminating=True),
        )
    )
    assert [(s.endpoint.id, s.ready) for s in sightings] == [("a", False)]


def test_several_slices_are_one_list_and_nobody_is_in_it_twice() -> None:
    sightings = found_in(
        one_slice(entry("a", "10.0.0.1", ready=False), entry("b", "10.0.0.2")),
        one_slice(entry("a", "10.0.0.1", ready=True)),
        one_slice(),
    )
    assert {(s.endpoint.id, s.ready) for s in sightings} == {("a", True), ("b", True)}


def test_of_two_words_the_one_that_says_terminating_is_believed() -> None:
    assert not found_in(one_slice(entry("a", ready=True)), one_slice(entry("a", terminating=True)))


def test_a_dual_stack_pod_is_one_endpoint_on_ipv4() -> None:
    v6 = one_slice(entry("a", "fd00::1"), addressType="IPv6")
    v4 = one_slice(entry("a", "10.0.0.1"))
    for slices in ((v4, v6), (v6, v4)):
        (sighting,) = found_in(*slices)
        assert sighting.endpoint.url == "http://10.0.0.1:8000"
    (alone,) = found_in(v6)
    assert alone.endpoint.url == "http://[fd00::1]:8000"


PORTS = [
    {"name": "http", "port": 8000, "protocol": "TCP"},
    {"name": "metrics", "port": 9090},
    {"name": "quic", "port": 8443, "protocol": "UDP"},
]


@pytest.mark.parametrize(
    ("offered", "wanted", "numbers"),
    [
        (PORTS, (), [8000]),
        (PORTS, ("metrics",), [9090]),
        (PORTS, (9090,), [9090]),
        (PORTS, ("http", "metrics"), [8000, 9090]),
        (PORTS, ("quic",), []),
        ([{"name": "", "port": 7000}], (), [7000]),
        ([{"name": "x", "port": 7000}, {"name": "y", "port": 7001}], (), []),
        ([{"port": None}], (), []),
        (None, (), []),
    ],
)
def test_which_ports_are_the_engines(
    offered: list[dict[str, Any]] | None, wanted: tuple[int | str, ...], numbers: list[int]
) -> None:
    sightings = found_in(one_slice(entry("a"), ports=offered), ports=wanted)
    assert [int(s.endpoint.url.rpartition(":")[2]) for s in sightings] == numbers


def test_a_service_none_of_whose_ports_is_meant_is_said() -> None:
    two = [{"name": "x", "port": 1}, {"name": "y", "port": 2}]
    wrong = read_slice(raw(one_slice(entry("a"), ports=two)))
    assert port_complaint([wrong], ()) == (
        "ports of the Service are x (1), y (2); wanted: the only one or 'http'"
    )
    assert not port_complaint([wrong], ("x",))


def test_labels_of_the_service_count_for_all_its_endpoints() -> None:
    labelled = one_slice(entry("a"), entry("b", "10.0.0.2"))
    labelled["metadata"]["labels"] = {"cardan.dev/engine": "sglang"}
    assert {s.endpoint.engine for s in found_in(labelled)} == {EngineKind.SGLANG}


# -- pools -----------------------------------------------------------------------------------------


def test_a_pool_is_a_selector_and_ports() -> None:
    found: dict[str, Any] = {
        "metadata": {"name": "p", "namespace": "ns", "resourceVersion": "1"},
        "spec": {
            "selector": {"matchLabels": {"b": "2", "a": "1"}},
            "targetPorts": [{"number": 8000}, {"number": 8001}],
        },
    }
    assert read_pool(raw(found)) == PoolFacts("a=1,b=2", (8000, 8001))
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert read_pool(raw(found)) is None


@given(st.binary(max_size=64))
def test_no_bytes_make_the_readers_fail_in_another_way(data: bytes) -> None:
    for read in (read_pod, read_slice, read_pool):
        for reader in (read_event, read_page):
            with contextlib.suppress(GarbageError):
                reader(data, read)
