"""What a schema cannot say: CEL rules, each with a message that names the field.

The API server runs them on every write and refuses what they do not hold for, so that no webhook
has to. `self` is the object that a rule stands at. Rules over a list are priced by its length,
which the schema therefore bounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cardan.overlay import ModelOverlay
from cardan.scaling.policies import CronWindow, Schedule
from cardan.scaling.spec import HotSpotSpec, RateLimit, RatioSpec

from cardan_controller.crds.fleet import FleetPool, FleetSpec, Requirement, Selector, TargetRef
from cardan_controller.crds.status import FleetStatus

if TYPE_CHECKING:
    import msgspec


class Rule(NamedTuple):
    """One rule: `field`, below where the rule stands, is what a refusal names."""

    holds: str
    message: str
    field: str = ""

    def document(self) -> dict[str, str]:
        """As a CustomResourceDefinition has it."""
        written = {"rule": self.holds, "message": self.message}
        return {**written, "fieldPath": self.field} if self.field else written


class Extra(NamedTuple):
    """What a field's schema gets beside what its type says."""

    schema: dict[str, Any]
    rules: tuple[Rule, ...] = ()


# Bounds that the core has no need of, and the API server has: what a rule looks through is priced
# by its length. Nobody has sixteen kinds of GPU for one model.
MOST_POOLS: Final = 16
MOST_POLICIES: Final = 16
MOST_VALUES: Final = 32

_POOLS_HAVE: Final = "self.pools.exists(pool, pool.role == '{}')"
_PREFILL, _DECODE, _BOTH = (_POOLS_HAVE.format(role) for role in ("prefill", "decode", "both"))
_FIELD: Final = r"([0-9A-Za-z*/,-]+)"

OBJECTS: Final[dict[type[msgspec.Struct], tuple[Rule, ...]]] = {
    FleetSpec: (
        Rule(
            f"{_BOTH} ? !({_PREFILL} || {_DECODE}) : ({_PREFILL} && {_DECODE})",
            "pools are either all of role both, or at least one of role prefill and one of decode",
            ".pools",
        ),
        Rule(
            "self.pools.all(one, self.pools.exists_one(other, "
            "other.scaleTargetRef == one.scaleTargetRef))",
            "pools[].scaleTargetRef: two pools may not scale the same target",
            ".pools",
        ),
        Rule(
            f"!{_DECODE} || !self.policies.exists(policy, policy.type == 'slo')"
            " || has(self.slo.itlSeconds)",
            "slo.itlSeconds is needed: the policy slo sizes pools of role decode by it",
            ".slo",
        ),
        Rule(
            "!has(self.scaleToZero.idleSeconds) || self.pools.all(pool, pool.minReplicas == 0)",
            "scaleToZero.idleSeconds needs minReplicas: 0 in every pool",
            ".scaleToZero",
        ),
        Rule(
            f"!has(self.ratio) || ({_PREFILL} && {_DECODE})",
            "ratio is of prefill over decode replicas: it needs pools of both roles",
            ".ratio",
        ),
        Rule(
            "!has(self.replicas) || self.pools.size() == 1",
            "replicas, which hands the number to somebody else, needs exactly one pool",
            ".replicas",
        ),
        Rule(
            "!has(self.replicas) || self.pools.size() != 1 || "
            "(self.replicas >= self.pools[0].minReplicas && "
            "self.replicas <= self.pools[0].maxReplicas)",
            "replicas must lie between minReplicas and maxReplicas of the pool",
            ".replicas",
        ),
    ),
    FleetPool: (
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "minReplicas must not be more than maxReplicas",
            ".minReplicas",
        ),
    ),
    TargetRef: (
        Rule(
            "!(self.kind in ['CronJob', 'DaemonSet', 'HorizontalPodAutoscaler', 'InferenceFleet',"
            " 'Job', 'Pod', 'ScaledObject'])",
            "kind must be of what runs replicas: a Deployment, a StatefulSet, a LeaderWorkerSet …",
            ".kind",
        ),
    ),
    Selector: (
        Rule(
            "self.matchLabels.size() + self.matchExpressions.size() > 0",
            "matchLabels and matchExpressions are empty: that would select every pod",
            ".matchLabels",
        ),
    ),
    Requirement: (
        Rule(
            "self.operator in ['In', 'NotIn'] ? self.values.size() > 0 : self.values.size() == 0",
            "values: In and NotIn need some, Exists and DoesNotExist take none",
            ".values",
        ),
    ),
    RateLimit: (
        Rule(
            "has(self.replicas) || has(self.percent)",
            "replicas or percent is needed: a limit of nothing limits nothing",
        ),
    ),
    RatioSpec: (Rule("self.min <= self.max", "min must not be more than max", ".min"),),
    HotSpotSpec: (
        Rule(
            "self.coolSeconds >= self.holdSeconds",
            "coolSeconds must not be less than holdSeconds: moves would come and go",
            ".coolSeconds",
        ),
    ),
    CronWindow: (
        Rule(
            "!has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            "minReplicas must not be more than maxReplicas",
            ".minReplicas",
        ),
        Rule("self.start != self.end", "end must be another moment than start", ".end"),
    ),
    ModelOverlay: (
        *(
            Rule(
                f"!has(self.{field}) || self.{field}.all(key, key.matches('^[0-9a-f]{{16}}$'))",
                f"{field}: keys are 16 hexadecimal digits",
                f".{field}",
            )
            for field in ("owners", "add", "warm")
        ),
    ),
}

FIELDS: Final[dict[tuple[type[msgspec.Struct], str], Extra]] = {
    (FleetSpec, "model"): Extra({}, (Rule("self == oldSelf", "model cannot be changed"),)),
    (FleetSpec, "pools"): Extra(
        {
            "minItems": 1,
            "maxItems": MOST_POOLS,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        }
    ),
    (FleetSpec, "policies"): Extra({"minItems": 1, "maxItems": MOST_POLICIES}),
    (FleetSpec, "priority"): Extra({"minimum": -1_000_000, "maximum": 1_000_000}),
    (Requirement, "values"): Extra({"maxItems": MOST_VALUES}),
    (Selector, "match_expressions"): Extra({"maxItems": MOST_VALUES}),
    (CronWindow, "start"): Extra({"pattern": rf"^({_FIELD} ){{4}}{_FIELD}$"}),
    (CronWindow, "end"): Extra({"pattern": rf"^({_FIELD} ){{4}}{_FIELD}$"}),
    (CronWindow, "timezone"): Extra({"pattern": r"^[A-Za-z][A-Za-z0-9_+/-]*$"}),
    (Schedule, "windows"): Extra({"maxItems": MOST_VALUES}),
    (FleetStatus, "conditions"): Extra(
        {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    ),
    (FleetStatus, "pools"): Extra(
        {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    ),
}
