"""What a user writes is what is decided by; what is wrong is told by the name of its field."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from cardan.endpoint import Role
from cardan.scaling.policies import AnyScalingPolicy, Concurrency, External, Slo, Throughput
from cardan.scaling.spec import DEFAULT_DOWN, DEFAULT_UP, ScalingSpec, SloSpec, ZeroSpec
from cardan_controller.cluster.selectors import parse
from cardan_controller.crds.documents import (
    SpecError,
    read_fleet,
    read_spec,
    spec_document,
    status_document,
)
from cardan_controller.crds.fleet import (
    FleetPool,
    FleetSpec,
    Operator,
    Requirement,
    Selector,
    TargetRef,
)
from cardan_controller.crds.sections import section_of, written
from cardan_controller.crds.status import Condition, FleetStatus, Truth
from hypothesis import given
from hypothesis import strategies as st

LEAST: dict[str, Any] = {
    "model": "m",
    "pools": [{"name": "a", "scaleTargetRef": {"kind": "Deployment", "name": "d"}}],
}


def pool(name: str = "a", **fields: Any) -> FleetPool:
    return FleetPool(name=name, scale_target_ref=TargetRef(kind="Deployment", name="d"), **fields)


def test_a_fleets_specification_is_one_that_the_core_decides_by() -> None:
    spec = read_spec(LEAST)
    assert isinstance(spec, ScalingSpec)
    assert spec == FleetSpec(model="m", pools=(pool(),))
    assert spec.scaling() is spec


def test_names_are_kubernetes_own() -> None:
    spec = read_spec(
        {
            **LEAST,
            "slo": {"ttftSeconds": 1, "itlSeconds": 0.05},
            "scaleToZero": {"idleSeconds": 60},
            "behavior": {"scaleUp": {"stabilizationWindowSeconds": 5, "selectPolicy": "Min"}},
        }
    )
    assert spec.slo == SloSpec(ttft_s=1.0, itl_s=0.05)
    assert spec.zero == ZeroSpec(idle_s=60.0)
    assert spec.behavior.up.stabilization_s == 5


def test_a_file_means_what_the_api_server_would_make_of_it() -> None:
    spec = read_spec({**LEAST, "behavior": {"scaleDown": {"tolerance": 0.3}}})
    assert spec.behavior.down == msgspec.structs.replace(DEFAULT_DOWN, tolerance=0.3)
    assert spec.behavior.up == DEFAULT_UP
    assert read_spec({**LEAST, "paused": None, "slo": None}) == read_spec(LEAST)
    assert "mode" not in LEAST, "what was given stays as it is"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"slo": {"ttftSeconds": 0}}, "`spec.slo.ttftSeconds`"),
        ({"slo": {"ttft_s": 1}}, "unknown field `ttft_s` - at `spec.slo`"),
        ({"pools": [{**LEAST["pools"][0], "role": "prefil"}]}, "`spec.pools[0].role`"),
        ({"policies": [{"type": "slow"}]}, "`spec.policies[0].type`"),
        ({"policies": [{"type": "slo"}, {}]}, "`spec.policies[1]`"),
        ({"policies": [{"type": "slo", "throughput": {}}]}, "`throughput` - at `spec.policies[0]`"),
        ({"policies": [{"type": "slo", "slo": 3}]}, "`object` - at `spec.policies[0].slo`"),
        ({"policies": 3}, "`spec.policies`"),
        (
            {"policies": [{"type": "external", "external": {"metric": "q"}}]},
            "`target` - at `spec.policies[0].external`",
        ),
        (
            {
                "policies": [
                    {"type": "schedule", "schedule": {"windows": [{"start": "x", "end": "y"}]}}
                ]
            },
            "`spec.policies[0].schedule.windows[0].start`",
        ),
        ({"model": None}, "`spec.model`"),
    ],
)
def test_what_is_wrong_is_told_by_its_field(change: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError) as error:
        read_spec({**LEAST, **change})
    assert told in str(error.value)


def test_a_policy_has_its_options_in_a_section_of_its_name() -> None:
    spec = read_spec(
        {
            **LEAST,
            "policies": [
                {"type": "slo"},
                {"type": "concurrency", "concurrency": {"target": 8}},
                {"type": "throughput", "throughput": {"tokensPerSecond": 100}},
            ],
        }
    )
    assert spec.policies == (Slo(), Concurrency(target=8.0), Throughput(tokens_per_s=100.0))
    assert section_of("some-policy") == "somePolicy"


def test_a_default_is_written_without_what_says_nothing_new() -> None:
    policies: tuple[AnyScalingPolicy, ...] = (Slo(), External(metric="q", target=2.0))
    assert written(policies) == [
        {"type": "slo"},
        {"type": "external", "external": {"metric": "q", "target": 2}},
    ]


positive = st.floats(0.001, 1e6, allow_nan=False)
specs = st.builds(
    FleetSpec,
    model=st.text(min_size=1, max_size=20),
    pools=st.lists(
        st.builds(
            pool,
            name=st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True),
            role=st.sampled_from(Role),
            min_replicas=st.integers(0, 50),
            max_replicas=st.integers(1, 50),
            cost=positive,
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    slo=st.builds(SloSpec, ttft_s=positive, itl_s=st.none() | positive),
    policies=st.lists(
        st.just(Slo())
        | st.builds(Throughput, tokens_per_s=positive)
        | st.builds(External, metric=st.text(max_size=8), target=positive),
        min_size=1,
        max_size=3,
    ).map(tuple),
    paused=st.booleans(),
    replicas=st.none() | st.integers(1, 9),
)


@given(specs)
def test_what_is_written_is_read_again(spec: FleetSpec) -> None:
    document = json.loads(json.dumps(spec_document(spec)))
    assert read_spec(document) == spec


def test_a_number_from_somebody_else_holds_the_pool_and_asks_no_policy() -> None:
    spec = FleetSpec(model="m", pools=(pool(max_replicas=8),), replicas=3)
    held = spec.scaling()
    assert [(one.min_replicas, one.max_replicas) for one in held.pools] == [(3, 3)]
    assert held.policies == ()


def test_a_selector_is_text_that_the_api_takes() -> None:
    selector = Selector(
        match_labels={"b": "2", "a": ""},
        match_expressions=(
            Requirement(key="zone", operator=Operator.IN, values=("x", "y")),
            Requirement(key="tier", operator=Operator.NOT_IN, values=("z",)),
            Requirement(key="here", operator=Operator.EXISTS),
            Requirement(key="gone", operator=Operator.DOES_NOT_EXIST),
        ),
    )
    assert selector.text() == "a=,b=2,zone in (x,y),tier notin (z),here,!gone"
    taken = parse(selector.text())
    assert taken.matches({"a": "", "b": "2", "zone": "y", "here": "1"})
    assert not taken.matches({"a": "", "b": "2", "zone": "y", "here": "1", "gone": ""})


# -- objects ---------------------------------------------------------------------------------------

META = {"name": "llama", "namespace": "ns", "resourceVersion": "7", "generation": 3, "uid": "u"}


def read(spec: Any = None, status: Any = None) -> Any:
    found = {"metadata": META, "spec": spec or LEAST, "status": status or {}}
    return read_fleet(json.dumps(found).encode())


def test_a_fleet_is_its_metadata_specification_and_status() -> None:
    found = read()
    assert (found.meta.name, found.meta.generation) == ("llama", 3)
    assert found.spec == FleetSpec(model="m", pools=(pool(),))
    assert (found.status, found.problem) == (FleetStatus(), "")


def test_a_wrong_specification_is_a_problem_and_the_fleet_is_known() -> None:
    found = read({**LEAST, "mode": "apply"}, {"desired": 4})
    assert found.spec is None
    assert "spec.mode" in found.problem
    assert found.status.desired == 4


def test_a_status_of_another_version_is_forgotten_where_it_cannot_be_read() -> None:
    assert read(status={"desired": "four", "memory": {"a": 1}}).status == FleetStatus()
    assert read(status={"of_another_version": 1, "desired": 4}).status.desired == 4


def test_a_status_says_only_what_there_is_to_say_and_what_is_counted() -> None:
    condition = Condition(
        type="Ready", status=Truth.TRUE, reason="Holds", last_transition_time="2026-01-01T00:00:00Z"
    )
    status = FleetStatus(conditions=(condition,), desired=2)
    assert json.loads(json.dumps(status_document(status))) == {
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Holds",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
        "replicas": 0,
        "desired": 2,
        "ready": 0,
    }
    again = json.dumps(status_document(status)).encode()
    assert msgspec.json.decode(again, type=FleetStatus) == status
