"""The operator's configuration: one YAML file, strict, with a default for everything.

What concerns one fleet is in its custom resource; here is what concerns process and cluster.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from cardan.errors import ConfigError
from cardan.scaling.budget import Budget

from cardan_controller.election import LeaseConfig
from cardan_controller.metrics.prometheus import PrometheusConfig
from cardan_controller.recorder import RecordConfig

Positive = Annotated[float, msgspec.Meta(gt=0)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every part: strict, frozen."""


class MetricsConfig(_Part, frozen=True):
    """Where measurements come from: a Prometheus, or without one the gateways themselves.

    Demand is a rate over `short_window_s` (four scrapes at least), promises are looked at over
    `long_window_s`. What is older than `stale_after_s` is not acted on. `external` are queries, by
    the names that fleets' policies `external` use: fleets name them, and ask nothing themselves.
    """

    prometheus: PrometheusConfig | None = None
    short_window_s: Positive = 60.0
    long_window_s: Positive = 300.0
    stale_after_s: Positive = 45.0
    external: dict[str, str] = {}

    def __post_init__(self) -> None:
        if self.long_window_s < self.short_window_s:
            raise ValueError("long_window_s is shorter than short_window_s")
        if self.external and self.prometheus is None:
            raise ValueError("external needs prometheus: gateways tell nothing of other metrics")


class GatewaysConfig(_Part, frozen=True):
    """How gateways are found: pods with these labels, and the port that tells their metrics.

    `endpoint_names` is how their discovery names engines: by `pod`, or by `namespace/pod` where it
    watches all namespaces. `namespaces` are those whose gateways any fleet may name in
    `spec.gateways`, beside those of its own namespace and of the operator's; `*` is all of them.
    """

    selector: str = "app.kubernetes.io/name=cardan,app.kubernetes.io/component=router"
    metrics_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 9090
    endpoint_names: Annotated[str, msgspec.Meta(pattern="^(pod|namespace/pod)$")] = "pod"
    namespaces: tuple[str, ...] = ()


class OperatorConfig(_Part, frozen=True):
    """All of it.

    `listen` serves health, metrics and gateways' wake-ups; `keda` KEDA's external scaler protocol
    (empty: not served). `namespaces` are those whose fleets are looked after; none means all.
    `wake_url` is where gateways reach `listen`. Each fleet is looked at every `tick_s`. `record`
    writes down what decisions are made of.
    """

    listen: str = "0.0.0.0:8080"
    keda: str = ""
    kubeconfig: str = ""
    namespaces: tuple[str, ...] = ()
    wake_url: str = ""
    tick_s: Positive = 15.0
    metrics: MetricsConfig = MetricsConfig()
    gateways: GatewaysConfig = GatewaysConfig()
    lease: LeaseConfig = LeaseConfig()
    budgets: dict[str, Budget] = {}
    record: RecordConfig = RecordConfig()


def load(path: str) -> OperatorConfig:
    """The configuration in a file; none where there is no path. `ConfigError` names the field."""
    if not path:
        return OperatorConfig()
    try:
        return msgspec.yaml.decode(Path(path).read_bytes(), type=OperatorConfig)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
