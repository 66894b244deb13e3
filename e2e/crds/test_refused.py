"""The API server refuses every bad specification itself, and says which field is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.crds.conftest import API_VERSION, fleet

if TYPE_CHECKING:
    from e2e.crds.conftest import Document, Server

pytestmark = pytest.mark.cluster


def pool(name: str = "main", target: str = "", **fields: object) -> Document:
    """A pool of a Deployment of its own."""
    ref = {"kind": "Deployment", "name": target or name}
    return {"name": name, "scaleTargetRef": ref, **fields}


def of(ref: Document) -> Document:
    """A fleet that scales something else."""
    return fleet(pools=[{"name": "main", "scaleTargetRef": {"name": "x", **ref}}])


def policy(type_: str, /, **fields: object) -> Document:
    """A fleet with one policy."""
    return fleet(policies=[{"type": type_, **fields}])


def window(**fields: object) -> Document:
    """A fleet with a schedule of one window."""
    given = {"start": "0 8 * * *", "end": "0 18 * * *", "minReplicas": 2, **fields}
    return policy("schedule", schedule={"windows": [given]})


def without(document: Document, field: str) -> Document:
    """The same without a field of its specification."""
    return {**document, "spec": {key: v for key, v in document["spec"].items() if key != field}}


PREFILL, DECODE = pool("p", role="prefill"), pool("d", role="decode")
ITL = {"itlSeconds": 0.05}

BAD: dict[str, tuple[Document, str]] = {
    # what has to be there
    "no model": (without(fleet(), "model"), "spec.model: Required value"),
    "an empty model": (fleet(model=""), "spec.model"),
    "no pools": (without(fleet(), "pools"), "spec.pools: Required value"),
    "an empty list of pools": (fleet(pools=[]), "spec.pools"),
    "a pool without a name": (
        fleet(pools=[{"scaleTargetRef": {"kind": "Deployment", "name": "x"}}]),
        "spec.pools[0].name: Required value",
    ),
    "a pool without a target": (
        fleet(pools=[{"name": "main"}]),
        "spec.pools[0].scaleTargetRef: Required value",
    ),
    "a target without a name": (
        fleet(pools=[{"name": "main", "scaleTargetRef": {"kind": "Deployment"}}]),
        "spec.pools[0].scaleTargetRef.name: Required value",
    ),
    "no specification": (
        {"apiVersion": API_VERSION, "kind": "InferenceFleet", "metadata": {"name": "x"}},
        "spec: Required value",
    ),
    # typing errors
    "an unknown field": (fleet(modelName="x"), 'unknown field "spec.modelName"'),
    "an unknown field of a policy": (
        policy("concurrency", concurrency={"targets": 3}),
        'unknown field "spec.policies[0].concurrency.targets"',
    ),
    "an unknown role": (fleet(pools=[pool(role="prefil")]), "spec.pools[0].role"),
    "an unknown engine": (fleet(engine="tgi"), "spec.engine"),
    "an unknown mode": (fleet(mode="apply"), "spec.mode"),
    "an unknown policy": (policy("sloo"), "spec.policies[0].type"),
    "a policy without a type": (fleet(policies=[{}]), "spec.policies[0].type: Required value"),
    "text for a number": (fleet(slo={"ttftSeconds": "2s"}), "spec.slo.ttftSeconds"),
    "a fraction of a replica": (
        fleet(pools=[pool(maxReplicas=1.5)]),
        "spec.pools[0].maxReplicas",
    ),
    "a name in capitals": (fleet(pools=[pool("Main", "x")]), "spec.pools[0].name"),
    "a kind in small letters": (of({"kind": "deployment"}), "spec.pools[0].scaleTargetRef.kind"),
    "an API version that is none": (
        of({"kind": "Deployment", "apiVersion": "apps"}),
        "spec.pools[0].scaleTargetRef.apiVersion",
    ),
    # bounds
    "no time to the first token": (fleet(slo={"ttftSeconds": 0}), "spec.slo.ttftSeconds"),
    "a promise for everybody": (fleet(slo={"attainment": 1}), "spec.slo.attainment"),
    "fewer than no replicas": (
        fleet(pools=[pool(minReplicas=-1)]),
        "spec.pools[0].minReplicas",
    ),
    "at most no replicas": (
        fleet(pools=[pool(minReplicas=0, maxReplicas=0)]),
        "spec.pools[0].maxReplicas",
    ),
    "a replica for nothing": (fleet(pools=[pool(cost=0)]), "spec.pools[0].cost"),
    "less power than none": (fleet(pools=[pool(powerWatts=-1)]), "spec.pools[0].powerWatts"),
    "a replica without speed": (fleet(pools=[pool(speed=0)]), "spec.pools[0].speed"),
    "an imbalance that is none": (fleet(hotSpots={"imbalance": 1}), "spec.hotSpots.imbalance"),
    "a share over one": (
        fleet(failureDetection={"errorShare": 1.5}),
        "spec.failureDetection.errorShare",
    ),
    "no time to be idle": (fleet(scaleToZero={"idleSeconds": 0}), "spec.scaleToZero.idleSeconds"),
    "seventeen pools": (
        fleet(pools=[pool(f"p{n}") for n in range(17)]),
        "spec.pools: Too many: 17: must have at most 16 items",
    ),
    "no policy": (fleet(policies=[]), "spec.policies"),
    # what fields mean for each other
    "a minimum over the maximum": (
        fleet(pools=[pool(minReplicas=5, maxReplicas=4)]),
        "spec.pools[0].minReplicas: Invalid value",
    ),
    "a minimum over the maximum that is not written": (
        fleet(pools=[pool(minReplicas=11)]),
        "minReplicas must not be more than maxReplicas",
    ),
    "two pools of one name": (
        fleet(pools=[pool("a", "x"), pool("a", "y")]),
        'spec.pools[1]: Duplicate value: {"name":"a"}',
    ),
    "two pools of one target": (
        fleet(pools=[pool("a", "x"), pool("b", "x")]),
        "pools[].scaleTargetRef: two pools may not scale the same target",
    ),
    "a kind that has no scale": (
        of({"apiVersion": "v1", "kind": "Pod"}),
        "kind must be of what runs replicas",
    ),
    "prefill without decode": (
        fleet(pools=[PREFILL]),
        "spec.pools: Invalid value",
    ),
    "prefill beside both": (
        fleet(pools=[PREFILL, DECODE, pool("b")], slo=ITL),
        "pools are either all of role both",
    ),
    "decode without a promise to size it by": (
        fleet(pools=[PREFILL, DECODE]),
        "spec.slo: Invalid value",
    ),
    "to zero with a minimum of one": (
        fleet(scaleToZero={"idleSeconds": 300}),
        "scaleToZero.idleSeconds needs minReplicas: 0 in every pool",
    ),
    "a ratio of one role": (fleet(ratio={}), "spec.ratio: Invalid value"),
    "a ratio turned around": (
        fleet(pools=[PREFILL, DECODE], slo=ITL, ratio={"min": 2, "max": 1}),
        "spec.ratio.min: Invalid value",
    ),
    "a limit of nothing": (
        fleet(behavior={"scaleUp": {"limits": [{"periodSeconds": 15}]}}),
        "spec.behavior.scaleUp.limits[0]: Invalid value",
    ),
    "moves that come and go": (
        fleet(hotSpots={"holdSeconds": 60, "coolSeconds": 30}),
        "spec.hotSpots.coolSeconds: Invalid value",
    ),
    "an autoscaler as the target": (
        of({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}),
        "spec.pools[0].scaleTargetRef.kind: Invalid value",
    ),
    "a fleet as the target": (
        of({"apiVersion": API_VERSION, "kind": "InferenceFleet"}),
        "spec.pools[0].scaleTargetRef.kind: Invalid value",
    ),
    "a selector of everything": (
        fleet(pools=[pool(selector={})]),
        "spec.pools[0].selector.matchLabels: Invalid value",
    ),
    "In without values": (
        fleet(pools=[pool(selector={"matchExpressions": [{"key": "a", "operator": "In"}]})]),
        "spec.pools[0].selector.matchExpressions[0].values: Invalid value",
    ),
    "one number for two pools": (
        fleet(pools=[pool("a"), pool("b")], replicas=3),
        "spec.replicas: Invalid value",
    ),
    "a number out of bounds": (
        fleet(replicas=11),
        "replicas must lie between minReplicas and maxReplicas of the pool",
    ),
    # policies
    "options of another policy": (
        policy("slo", external={"metric": "x", "target": 1}),
        "spec.policies[0].external: Invalid value",
    ),
    "external without its options": (
        policy("external"),
        "type: external needs the section external",
    ),
    "external without a metric": (
        policy("external", external={"target": 1}),
        "spec.policies[0].external.metric: Required value",
    ),
    "a schedule without windows": (
        policy("schedule", schedule={"windows": []}),
        "spec.policies[0].schedule.windows",
    ),
    "a cron expression of four fields": (
        window(start="0 8 * *"),
        "spec.policies[0].schedule.windows[0].start",
    ),
    "a cron expression of words": (
        window(end="every day at six o'clock"),
        "spec.policies[0].schedule.windows[0].end",
    ),
    "a window that closes as it opens": (
        window(end="0 8 * * *"),
        "spec.policies[0].schedule.windows[0].end: Invalid value",
    ),
    "a window with its bounds turned around": (
        window(maxReplicas=1),
        "spec.policies[0].schedule.windows[0].minReplicas: Invalid value",
    ),
    "a target of nothing": (
        policy("throughput", throughput={"tokensPerSecond": 0}),
        "spec.policies[0].throughput.tokensPerSecond",
    ),
    # names
    "a name that is no label": (
        {**fleet(), "metadata": {"name": "x" * 64}},
        "metadata.name must not be longer than 63 characters",
    ),
}


def test_there_are_enough_ways() -> None:
    assert len(BAD) >= 30


@pytest.mark.parametrize("name", BAD)
def test_a_bad_fleet_is_refused_by_the_name_of_its_field(server: Server, name: str) -> None:
    document, told = BAD[name]
    assert told in server.refusal(document)


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ({"m": {"owners": {"xyz": ["a"]}}}, "owners: keys are 16 hexadecimal digits"),
        ({"m": {"add": {"0123456789ABCDEF": ["a"]}}}, "add: keys are 16 hexadecimal digits"),
        ({"m": {"weights": {"a": 0}}}, "spec.models.m.weights.a"),
        ({"m": {"owners": {"0" * 16: []}}}, "spec.models.m.owners"),
        ({"m": {"dormant": {"holdSeconds": 0}}}, "spec.models.m.dormant.holdSeconds"),
    ],
)
def test_a_bad_overlay_is_refused_by_the_name_of_its_field(
    server: Server, models: Document, told: str
) -> None:
    document = {
        "apiVersion": API_VERSION,
        "kind": "RoutingOverlay",
        "metadata": {"name": "x"},
        "spec": {"models": models},
    }
    assert told in server.refusal(document)
