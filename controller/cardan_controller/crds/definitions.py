"""The CustomResourceDefinitions: names, versions, columns, subresources, and the schemas.

One version, stored and served, and a conversion strategy that says so: when there are two, that is
the place that changes, and nothing of what users wrote.

InferenceFleet has a scale subresource: `spec.replicas` hands the number of a fleet with one pool to
a person, a HorizontalPodAutoscaler or KEDA, while drains and hot spots stay ours. Of several pools
one number says nothing, and a rule refuses it. RoutingOverlay has no replicas, and no status:
gateways read it, and say what they apply in their own metrics.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from cardan.overlay import RoutingOverlay

from cardan_controller.crds.fleet import FleetSpec
from cardan_controller.crds.schema import object_schema
from cardan_controller.crds.status import FleetStatus

GROUP: Final = "cardan.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
# A fleet's name becomes the value of labels.
LONGEST_NAME: Final = 63

Schema = dict[str, Any]


class Names(NamedTuple):
    """What a resource is called."""

    kind: str
    plural: str
    singular: str
    short: str


FLEET: Final = Names("InferenceFleet", "inferencefleets", "inferencefleet", "fleet")
OVERLAY: Final = Names("RoutingOverlay", "routingoverlays", "routingoverlay", "overlay")


class Column(NamedTuple):
    """A column of `kubectl get`; those of priority 1 are shown by `-o wide`."""

    name: str
    path: str
    type: str = "string"
    about: str = ""
    wide: bool = False

    def document(self) -> Schema:
        """As a CustomResourceDefinition has it."""
        found: Schema = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.about:
            found["description"] = self.about
        return {**found, "priority": 1} if self.wide else found


def _condition(type_: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{type_}")].{field}'


_AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")
FLEET_COLUMNS: Final = (
    Column("Model", ".spec.model"),
    Column("Desired", ".status.desired", "integer", "Replicas that it should have."),
    Column("Current", ".status.replicas", "integer", "Replicas that its targets ask for."),
    Column("Ready", ".status.ready", "integer", "Replicas that are ready."),
    Column("Healthy", _condition("Ready", "status"), about="Whether it holds what it promises."),
    Column("Reason", _condition("Ready", "reason")),
    Column("Mode", ".spec.mode", wide=True),
    Column("Paused", ".spec.paused", "boolean", wide=True),
    Column("TTFT", ".spec.slo.ttftSeconds", "number", "The promise (s).", wide=True),
    Column("Metrics", _condition("MetricsHealthy", "reason"), wide=True),
    Column("Limited", _condition("ScalingLimited", "reason"), wide=True),
    Column("Operator", ".status.operator", about="Whose it is, by its Lease.", wide=True),
    _AGE,
)
OVERLAY_COLUMNS: Final = (
    Column("Generation", ".spec.generation", "integer", "Rises with every change."),
    _AGE,
)


def definitions() -> list[Schema]:
    """All of them, as objects of the API."""
    return [fleet_definition(), overlay_definition()]


def fleet_definition() -> Schema:
    """InferenceFleet."""
    schema = _root(
        FleetSpec.__doc__ or "",
        {
            "spec": object_schema(FleetSpec),
            "status": object_schema(FleetStatus, defaults=False),
        },
    )
    schema["x-kubernetes-validations"] = [
        {
            "rule": f"self.metadata.name.size() <= {LONGEST_NAME}",
            "message": f"metadata.name must not be longer than {LONGEST_NAME} characters",
        }
    ]
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    return _definition(FLEET, schema, FLEET_COLUMNS, {"status": {}, "scale": scale})


def overlay_definition() -> Schema:
    """RoutingOverlay."""
    spec = object_schema(RoutingOverlay, defaults=False)
    schema = _root("What the operator tells the gateways of a fleet.", {"spec": spec})
    return _definition(OVERLAY, schema, OVERLAY_COLUMNS)


def _root(about: str, properties: Schema) -> Schema:
    meta: Schema = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    return {
        "description": about.partition("\n\n")[0],
        "type": "object",
        "required": ["spec"],
        "properties": {**meta, **properties},
    }


def _definition(
    names: Names, schema: Schema, columns: tuple[Column, ...], subresources: Schema | None = None
) -> Schema:
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        **({"subresources": subresources} if subresources else {}),
        "additionalPrinterColumns": [column.document() for column in columns],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "annotations": {"cardan.dev/written-by": "cardan crds"},
            "name": f"{names.plural}.{GROUP}",
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.kind,
                "listKind": f"{names.kind}List",
                "plural": names.plural,
                "singular": names.singular,
                "shortNames": [names.short],
                "categories": ["all", "cardan"],
            },
            "conversion": {"strategy": "None"},
            "versions": [version],
        },
    }
