"""Who exists: the sections of the configuration that say where endpoints are found.

`discovery.kubernetes` is a union on `kind`: each kind is a struct of its own, so that a field that
means nothing to a kind is a mistake and not ignored.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0.05, le=60)]
PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65535)]

# Names as the API server validates them (RFC 1123 label and subdomain, IANA service name), and a
# label selector's requirements: a typo is told at the start, not by an API server some day.
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_PORT_NAME: Final = re.compile(r"(?=[a-z0-9-]{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_KEY: Final = r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?"
_VALUE: Final = r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?"
_REQUIREMENT: Final = (
    rf"\s*({_KEY}\s*(==?|!=)\s*{_VALUE}"
    rf"|{_KEY}\s+(in|notin)\s+\(\s*{_VALUE}(\s*,\s*{_VALUE})*\s*\)"
    rf"|!?{_KEY})\s*"
)
SELECTOR: Final = re.compile(rf"{_REQUIREMENT}(,{_REQUIREMENT})*", re.ASCII)
ALL_NAMESPACES: Final = "*"


class _Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all kinds have."""

    namespace: str = ""
    kubeconfig: str = ""
    overlays: bool = True

    def check_namespace(self, *, all_allowed: bool = False) -> None:
        """Raise `ValueError` if the namespace is none."""
        if self.namespace == ALL_NAMESPACES and not all_allowed:
            raise ValueError("namespace: only kind pods can watch all namespaces")
        if self.namespace not in ("", ALL_NAMESPACES) and not _LABEL.fullmatch(self.namespace):
            raise ValueError(f"namespace: {self.namespace!r} is not a namespace's name")


class PodsConfig(_Kind, frozen=True, tag_field="kind", tag="pods"):
    """Pods by label.

    `selector` is a label selector as `kubectl get pods -l` takes it. `ports` are numbers, or names
    of container ports; with several, each is an endpoint (data-parallel ranks).
    `namespace` is the gateway's own where it is empty, and `*` means all. `kubeconfig` is a file;
    where it is empty the service account of the pod is used, and outside a cluster `$KUBECONFIG` or
    `~/.kube/config`. `overlays` follows what an operator says of routing (RoutingOverlays in the
    gateway's own namespace); where there are none, or they may not be read, nothing is different.
    """

    selector: str
    ports: tuple[PortNumber | str, ...] = (8000,)

    def __post_init__(self) -> None:
        self.check_namespace(all_allowed=True)
        if not SELECTOR.fullmatch(self.selector):
            raise ValueError(f"selector: {self.selector!r} is not a label selector")
        if not self.ports:
            raise ValueError("ports: at least one is needed")
        _check_ports(self.ports)


class ServiceConfig(_Kind, frozen=True, tag_field="kind", tag="service"):
    """The EndpointSlices of a Service.

    `ports` are names of the Service's ports, or numbers that the pods listen on; it may be empty
    where the Service has one port, or one that is called `http`.
    `namespace`, `kubeconfig` and `overlays` as above.
    """

    name: str
    ports: tuple[PortNumber | str, ...] = ()

    def __post_init__(self) -> None:
        self.check_namespace()
        _check_name(self.name, _LABEL)
        _check_ports(self.ports)


class InferencePoolConfig(_Kind, frozen=True, tag_field="kind", tag="inference_pool"):
    """The pods of an InferencePool (`inference.networking.k8s.io/v1`), on its target ports.

    The pool is watched too: a change of its selector or its ports takes effect at once.
    `namespace`, `kubeconfig` and `overlays` as above.
    """

    name: str

    def __post_init__(self) -> None:
        self.check_namespace()
        _check_name(self.name, _SUBDOMAIN)


KubernetesConfig = PodsConfig | ServiceConfig | InferencePoolConfig


class DiscoveryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who exists, beside `endpoints`. What several sources name is joined.

    `file` is a YAML or JSON list of endpoints, watched every `poll_s` seconds; a file that cannot
    be read keeps the last good list. `kubernetes` watches the API of a cluster; while that cannot
    be reached the last known list stays.
    """

    file: str = ""
    poll_s: Seconds = 0.5
    kubernetes: PodsConfig | ServiceConfig | InferencePoolConfig | None = None


def _check_name(name: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(name):
        raise ValueError(f"name: {name!r} is not the name of an object")


def _check_ports(ports: tuple[int | str, ...]) -> None:
    for port in ports:
        if isinstance(port, str) and not _PORT_NAME.fullmatch(port):
            raise ValueError(f"ports: {port!r} is neither a number nor the name of a port")
    if len(set(ports)) != len(ports):
        raise ValueError("ports: one is there twice")
