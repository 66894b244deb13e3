"""The chart's values as typed structs: what Helm refuses follows from these.

Defaults and explanations are in values.yaml, where a person reads them; here are kinds and bounds.
Every field is required, because values.yaml gives all of them: what is missing, somebody has set to
null, which only fields that default to None here may be. What Kubernetes defines itself (resources,
affinity) is any mapping here; the API server looks at it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
# What Kubernetes takes as a name of an object, as a key of a ConfigMap or Secret, as a port's name,
# as a reference to an image.
ObjectName = Annotated[str, Meta(pattern=rf"^({NAME}(\.{NAME})*)?$", max_length=253)]
LabelName = Annotated[str, Meta(pattern=rf"^({NAME})?$", max_length=63)]
DataKey = Annotated[str, Meta(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
# A letter somewhere, no hyphen at an end or beside another.
PortName = Annotated[
    str,
    Meta(pattern=r"^([a-z0-9]+-)*[a-z0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=15),
]
Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[int, Meta(ge=0, le=3600)]
Count = Annotated[int, Meta(ge=0, le=1000)]
Repository = Annotated[str, Meta(pattern=r"^[a-z0-9]+([._/-]+[a-z0-9]+)*$")]
Registry = Annotated[
    str, Meta(pattern=r"^([a-zA-Z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?)?$")
]
Tag = Annotated[str, Meta(pattern=r"^([a-zA-Z0-9_][a-zA-Z0-9._-]{0,127})?$")]
Digest = Annotated[str, Meta(pattern=r"^(sha256:[0-9a-f]{64})?$")]
# A number, or a share of all replicas; none at all would hold up every drain.
Some = Annotated[int, Meta(ge=1)] | Annotated[str, Meta(pattern=r"^(100|[1-9][0-9]?)%$")]
# Of a user or a group, as Kubernetes has them. Pods are nobody's root.
UserId = Annotated[int, Meta(ge=1, le=2**31 - 1)]
GroupId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
HashedKey = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._@-]{1,64}:[0-9a-fA-F]{64}"
        r"([ \t]+(priority=-?[0-9]+|weight=[0-9.]+|admin))*$"
    ),
]
EngineKey = Annotated[str, Meta(pattern=r"^[\x21-\x7e]*$")]
Duration = Annotated[str, Meta(pattern=r"^(([0-9]+(ms|[smhd]))+)?$")]

# As Kubernetes defines them.
Labels = dict[str, str]
Free = dict[str, Any]
FreeList = list[Free]


class Node(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of every mapping: an unknown key is a typo."""


class PodSecurity(Node):
    """`podSecurity`: what is missing, the cluster chooses."""

    run_as_user: UserId | None = None
    run_as_group: GroupId | None = None
    fs_group: GroupId | None = None


class ImageDefaults(Node):
    """`image`."""

    registry: Registry
    tag: Tag
    pull_policy: Literal["Always", "IfNotPresent", "Never"]
    pull_secrets: list[ObjectName]


class Image(Node):
    """The image of a component."""

    repository: Repository
    tag: Tag
    digest: Digest


class Autoscaling(Node):
    """`router.autoscaling`."""

    enabled: bool
    min_replicas: Annotated[int, Meta(ge=1, le=1000)]
    max_replicas: Annotated[int, Meta(ge=1, le=1000)]
    cpu_percent: Annotated[int, Meta(ge=0, le=100)]
    busy_ratio: Annotated[float, Meta(ge=0, le=1)]
    behavior: Free


class DisruptionBudget(Node):
    """`router.podDisruptionBudget`, `controller.podDisruptionBudget`."""

    enabled: bool
    max_unavailable: Some


class Service(Node):
    """`router.service`."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    port: Port
    grpc_port: Port
    annotations: Labels
    load_balancer_class: str
    traffic_distribution: Literal["", "PreferClose", "PreferSameZone", "PreferSameNode"]


class ApiKeys(Node):
    """`router.apiKeys`."""

    existing_secret: ObjectName
    key: DataKey
    hashed: list[HashedKey]


class EngineKeyValues(Node):
    """`router.engineKey`."""

    existing_secret: ObjectName
    key: DataKey
    value: EngineKey


class Tls(Node):
    """`router.tls`."""

    existing_secret: ObjectName


class Router(Node):
    """`router`."""

    image: Image
    replicas: Annotated[int, Meta(ge=1, le=1000)]
    autoscaling: Autoscaling
    pod_disruption_budget: DisruptionBudget
    resources: Free
    service: Service
    min_ready_seconds: Seconds
    topology_spread_constraints: FreeList
    api_keys: ApiKeys
    engine_key: EngineKeyValues
    tls: Tls
    pod_labels: Labels
    pod_annotations: Labels
    node_selector: Labels
    tolerations: FreeList
    affinity: Free
    priority_class_name: ObjectName
    env: FreeList
    extra_volumes: FreeList
    extra_volume_mounts: FreeList


class ServiceAccount(Node):
    """`rbac.serviceAccount`, `controller.serviceAccount`."""

    create: bool
    name: ObjectName
    annotations: Labels


class KubernetesDiscovery(Node):
    """`discovery.kubernetes`."""

    kind: Literal["pods", "service", "inference_pool", "none"]
    namespace: Annotated[str, Meta(pattern=rf"^({NAME}|\*)?$", max_length=63)]
    selector: str
    overlays: bool
    ports: list[Port | PortName]
    name: ObjectName


class FileDiscovery(Node):
    """`discovery.file`."""

    config_map: ObjectName
    key: DataKey


class Discovery(Node):
    """`discovery`."""

    kubernetes: KubernetesDiscovery
    file: FileDiscovery


class ExtraTarget(Node):
    """One of `controller.extraTargets`."""

    api_group: Annotated[str, Meta(pattern=rf"^{NAME}(\.{NAME})+$", max_length=253)]
    resource: Annotated[str, Meta(pattern=rf"^{NAME}$", max_length=63)]


class Keda(Node):
    """`controller.keda`."""

    enabled: bool
    port: Port


class ControllerService(Node):
    """`controller.service`."""

    port: Port


class Controller(Node):
    """`controller`, but `config`, whose schema is made of the operator's own structs."""

    enabled: bool
    image: Image
    replicas: Annotated[int, Meta(ge=1, le=10)]
    namespaces: list[Annotated[str, Meta(pattern=rf"^({NAME}|\*)$", max_length=63)]]
    config: Free
    extra_targets: list[ExtraTarget]
    keda: Keda
    service: ControllerService
    pod_disruption_budget: DisruptionBudget
    resources: Free
    topology_spread_constraints: FreeList
    service_account: ServiceAccount
    pod_labels: Labels
    pod_annotations: Labels
    node_selector: Labels
    tolerations: FreeList
    affinity: Free
    priority_class_name: ObjectName
    env: FreeList
    extra_volumes: FreeList
    extra_volume_mounts: FreeList


class SimulatedEngines(Node):
    """`engines.simulated`."""

    enabled: bool
    replicas: Count
    scaled_by_others: bool
    kind: Literal["vllm", "sglang"]
    model: str
    served_model_name: str
    speed: Annotated[float, Meta(gt=0, le=1000)]
    extra_args: list[str]
    image: Image
    resources: Free
    pre_stop_seconds: Seconds
    shutdown_seconds: Seconds
    pod_labels: Labels
    node_selector: Labels
    tolerations: FreeList
    affinity: Free


class Engines(Node):
    """`engines`."""

    simulated: SimulatedEngines


class PodMonitor(Node):
    """`monitoring.podMonitor`."""

    enabled: bool
    interval: Duration
    labels: Labels


class PrometheusRule(Node):
    """`monitoring.prometheusRule`."""

    enabled: bool
    labels: Labels


class Dashboards(Node):
    """`monitoring.dashboards`."""

    enabled: bool
    labels: Labels
    folder: str


class Monitoring(Node):
    """`monitoring`."""

    scrape_annotations: bool
    pod_monitor: PodMonitor
    prometheus_rule: PrometheusRule
    dashboards: Dashboards


class NetworkPolicy(Node):
    """`networkPolicy`."""

    enabled: bool
    clients: FreeList
    monitoring: FreeList
    egress: bool
    api_server_ports: Annotated[list[Port], Meta(min_length=1)]
    engines: FreeList
    engine_ports: list[Port]


class Crds(Node):
    """`crds`."""

    install: bool
    keep: bool
    user_roles: bool


class Rbac(Node):
    """`rbac`."""

    create: bool
    service_account: ServiceAccount


class Test(Node):
    """`test`."""

    api_key_secret: ObjectName
    api_key_secret_key: DataKey


class Values(Node):
    """All of them but `config`, whose schema is made of the gateway's own structs."""

    name_override: LabelName
    fullname_override: LabelName
    common_labels: Labels
    pod_security: PodSecurity
    image: ImageDefaults
    router: Router
    discovery: Discovery
    controller: Controller
    engines: Engines
    monitoring: Monitoring
    network_policy: NetworkPolicy
    crds: Crds
    rbac: Rbac
    test: Test
    extra_objects: list[str | Free]
