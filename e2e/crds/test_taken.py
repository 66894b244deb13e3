"""Good specifications are stored as the structs mean them, and the resources behave as resources
do: defaults, status, scale, columns, a model that stays, and `kubectl explain`.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml
from cardan.endpoint import EngineKind, Role
from cardan.overlay import Dormant, ModelOverlay, RoutingOverlay
from cardan.scaling.hotspots import MoveKind
from cardan.scaling.observation import Freshness
from cardan.scaling.policies import Concurrency, CronWindow, External, Schedule, Slo, Throughput
from cardan.scaling.spec import (
    DEFAULT_DOWN,
    Behavior,
    Direction,
    RateLimit,
    RatioSpec,
    Select,
    SloSpec,
    ZeroSpec,
)
from cardan_controller.crds.documents import (
    read_fleet,
    read_spec,
    spec_document,
    status_document,
)
from cardan_controller.crds.fleet import (
    BudgetRef,
    FleetPool,
    FleetSpec,
    Gateways,
    Mode,
    Operator,
    Requirement,
    Selector,
    TargetRef,
)
from cardan_controller.crds.status import (
    Condition,
    DecisionStatus,
    FleetStatus,
    HotSpotStatus,
    InputHealth,
    MoveStatus,
    PoolStatus,
    RatioStatus,
    Truth,
)

from e2e.cluster.errors import CommandError
from e2e.cluster.paths import ROOT
from e2e.crds.conftest import API_VERSION, fleet
from tests.system.processes import until

if TYPE_CHECKING:
    from e2e.cluster.interface import Cluster
    from e2e.crds.conftest import Document, Server

pytestmark = pytest.mark.cluster

NUMBERS = itertools.count()


def named(document: Document) -> Document:
    """The same under a name that no other test has."""
    return {**document, "metadata": {"name": f"f{next(NUMBERS)}"}}


def of(spec: FleetSpec) -> Document:
    return {**fleet(), "spec": spec_document(spec)}


def pool(name: str, **fields: Any) -> FleetPool:  # noqa: ANN401 - whatever a pool has
    return FleetPool(name=name, scale_target_ref=TargetRef(kind="Deployment", name=name), **fields)


GOOD = {
    "a fleet of one pool": FleetSpec(model="org/llama", pools=(pool("a"),)),
    "prefill and decode, with a ratio": FleetSpec(
        model="org/llama",
        engine=EngineKind.SGLANG,
        pools=(pool("p", role=Role.PREFILL), pool("d", role=Role.DECODE, max_replicas=40)),
        slo=SloSpec(ttft_s=0.8, itl_s=0.04, attainment=0.99),
        ratio=RatioSpec(min=0.25, max=1.0),
    ),
    "several pools, one of them spare, and to zero": FleetSpec(
        model="org/llama:v2",
        pools=(
            pool("h200", min_replicas=0, cost=4.2, gpus=8, power_w=5600.0),
            FleetPool(
                name="l40s",
                scale_target_ref=TargetRef(
                    api_version="leaderworkerset.x-k8s.io/v1", kind="LeaderWorkerSet", name="l40s"
                ),
                selector=Selector(
                    match_labels={"app": "vllm", "example.com/tier": "spare"},
                    match_expressions=(
                        Requirement(key="zone", operator=Operator.NOT_IN, values=("a", "b")),
                        Requirement(key="canary", operator=Operator.DOES_NOT_EXIST),
                    ),
                ),
                min_replicas=0,
                speed=0.4,
            ),
        ),
        zero=ZeroSpec(idle_s=900.0, hold_requests=16),
        budget_ref=BudgetRef(name="rack-7"),
        priority=-3,
        gateways=Gateways(namespace="gateways", selector=Selector(match_labels={"a": "b"})),
    ),
    "every kind of policy": FleetSpec(
        model="m",
        pools=(pool("a"),),
        policies=(
            Slo(roles=(Role.BOTH,)),
            Throughput(tokens_per_s=2500.0),
            Concurrency(target=64.0),
            Schedule(
                windows=(
                    CronWindow(
                        start="0 8 * * 1-5",
                        end="30 18 * * MON-FRI",
                        timezone="Europe/Paris",
                        min_replicas=3,
                        max_replicas=6,
                    ),
                )
            ),
            External(metric="queue_depth", target=5.0),
        ),
        behavior=Behavior(
            down=Direction(
                stabilization_s=60.0, limits=(RateLimit(percent=10),), select=Select.DISABLED
            )
        ),
        mode=Mode.RECOMMEND,
        paused=True,
        replicas=2,
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_stored_is_what_was_meant(server: Server, name: str) -> None:
    spec = GOOD[name]
    stored = server.create(named(of(spec)))
    assert read_spec(stored["spec"]) == spec


def test_the_example_of_the_reference_is_a_fleet(server: Server) -> None:
    given = yaml.safe_load((ROOT / "docs/reference/fleet.yaml").read_text())
    assert read_spec(server.create(named(given))["spec"]) == read_spec(given["spec"])


def test_a_fleet_of_three_lines_has_the_defaults_of_the_core(server: Server) -> None:
    stored = server.create(named(fleet()))["spec"]
    target = TargetRef(kind="Deployment", name="llama")
    assert read_spec(stored) == FleetSpec(
        model="org/llama", pools=(FleetPool(name="main", scale_target_ref=target),)
    )
    assert stored["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 60


def test_a_part_of_a_section_leaves_the_rest_of_it_as_it_was(server: Server) -> None:
    given = fleet(behavior={"scaleDown": {"tolerance": 0.3}})
    stored = read_spec(server.create(named(given))["spec"])
    assert stored.behavior.down == msgspec.structs.replace(DEFAULT_DOWN, tolerance=0.3)


def test_the_model_stays(server: Server) -> None:
    document = named(fleet())
    server.create(document)
    name = document["metadata"]["name"]
    change = ("patch", "fleet", name, "--type=merge", "-p")
    with pytest.raises(CommandError, match=r"spec\.model.*model cannot be changed"):
        server.kubectl(*change, '{"spec": {"model": "other"}}')
    server.kubectl(*change, '{"spec": {"paused": true}}')


FULL_STATUS = FleetStatus(
    observed_generation=1,
    conditions=(
        Condition(
            type="Ready",
            status=Truth.FALSE,
            reason="InsufficientCapacity",
            message="no node has room for 2 of 5 replicas",
            last_transition_time="2026-01-01T00:00:00Z",
            observed_generation=1,
        ),
    ),
    replicas=3,
    desired=5,
    ready=2,
    selector="app=vllm",
    pools=(PoolStatus(name="main", current=3, desired=5, ready=2, pending=1, reason="SloPrefill"),),
    ratio=RatioStatus(current=0.5, wanted=0.7),
    hot_spots=HotSpotStatus(
        endpoints=("llama-0",),
        moves=(
            MoveStatus(
                kind=MoveKind.ADD,
                at="2026-01-01T00:00:00Z",
                key="0123456789abcdef",
                owners=("llama-1",),
                warming=("llama-1",),
                cost_tokens=8192.0,
            ),
        ),
    ),
    metrics=(InputHealth(input="requests", freshness=Freshness.STALE, message="40 s old"),),
    last_decisions=(
        DecisionStatus(at="2026-01-01T00:00:00Z", pool="main", from_=3, to=5, reason="SloPrefill"),
    ),
    memory={"learned": {"base_s": 0.1, "of_everything": [1, 2, {"any": None}]}},
)


def apply_status(server: Server, name: str, status: FleetStatus) -> FleetStatus:
    """Write a status as the operator does; what is stored then."""
    document = {
        "apiVersion": API_VERSION,
        "kind": "InferenceFleet",
        "metadata": {"name": name},
        "status": status_document(status),
    }
    words = ("--server-side", "--subresource=status", "--field-manager=cardan-controller")
    server.kubectl("apply", *words, "-f", "-", document=document)
    return read_fleet(json.dumps(server.get("fleet", name)).encode()).status


def test_a_status_comes_back_whole_and_stands_apart_from_the_specification(
    server: Server,
) -> None:
    document = named(fleet())
    server.create(document)
    name = document["metadata"]["name"]
    assert apply_status(server, name, FULL_STATUS) == FULL_STATUS
    assert server.get("fleet", name)["metadata"]["generation"] == 1
    told = server.kubectl("get", "fleet", name, "--no-headers").split()
    assert told[:7] == [name, "org/llama", "5", "3", "2", "False", "InsufficientCapacity"]


def test_what_is_no_longer_remembered_is_gone(server: Server) -> None:
    document = named(fleet())
    server.create(document)
    name = document["metadata"]["name"]
    apply_status(server, name, FULL_STATUS)
    less = FleetStatus(observed_generation=1, memory={"learned": {"base_s": 0.2}})
    assert apply_status(server, name, less) == less
    version = server.get("fleet", name)["metadata"]["resourceVersion"]
    assert apply_status(server, name, less) == less
    assert server.get("fleet", name)["metadata"]["resourceVersion"] == version, "nothing was new"


def test_a_status_that_nobody_should_write_is_refused(server: Server) -> None:
    document = named(fleet())
    server.create(document)
    entry = {"at": "2026-01-01T00:00:00Z", "from": 1, "to": 2, "reason": "Idle"}
    many = json.dumps({"status": {"lastDecisions": [entry] * 11}})
    words = ("--subresource=status", "--type=merge", "-p", many)
    with pytest.raises(CommandError, match=r"status\.lastDecisions.*at most 10"):
        server.kubectl("patch", "fleet", document["metadata"]["name"], *words)


def test_a_fleet_of_one_pool_can_be_scaled_by_somebody_else(server: Server) -> None:
    document = named(fleet())
    server.create(document)
    name = document["metadata"]["name"]
    server.kubectl("scale", "fleet", name, "--replicas=4")
    spec = read_spec(server.get("fleet", name)["spec"])
    assert spec.replicas == 4
    (held,) = spec.scaling().pools
    assert (held.min_replicas, held.max_replicas) == (4, 4)
    with pytest.raises(CommandError, match="replicas must lie between"):
        server.kubectl("scale", "fleet", name, "--replicas=40")


def test_an_overlay_comes_back_whole(server: Server) -> None:
    overlay = RoutingOverlay(
        generation=7,
        models={
            "org/llama": ModelOverlay(
                owners={"0123456789abcdef": ("a", "b")},  # type: ignore[dict-item]
                add={"fedcba9876543210": ("c",)},  # type: ignore[dict-item]
                weights={"a": 0.5},  # type: ignore[dict-item]
                draining=("a",),  # type: ignore[arg-type]
                cordoned=("d",),  # type: ignore[arg-type]
                dormant=Dormant(hold_requests=8, wake_url="http://controller:9090/wake"),
            )
        },
    )
    document = {
        "apiVersion": API_VERSION,
        "kind": "RoutingOverlay",
        "metadata": {"name": "llama"},
        "spec": msgspec.to_builtins(overlay),
    }
    stored = server.create(document)
    assert msgspec.convert(stored["spec"], RoutingOverlay) == overlay
    assert server.kubectl("get", "overlay", "llama", "--no-headers").split()[:2] == ["llama", "7"]


def test_they_are_among_all_that_a_namespace_has(server: Server) -> None:
    document = named(fleet())
    server.create(document)
    name = f"inferencefleet.cardan.dev/{document['metadata']['name']}"
    for category in ("all", "cardan"):
        assert name in server.kubectl("get", category, "-o", "name")


def test_each_field_is_explained(installed: Cluster) -> None:
    told = ""

    def explains() -> bool:
        """The server tells of a new kind a moment after it has taken its definition."""
        nonlocal told
        try:
            told = installed.kubectl("explain", "inferencefleet.spec.behavior.scaleDown")
        except CommandError as error:
            return "couldn't find resource" not in str(error)
        return True

    until(explains, "the kind to be explained")
    assert "stabilizationWindowSeconds" in told
    assert "A change by less than this share is none." in told
