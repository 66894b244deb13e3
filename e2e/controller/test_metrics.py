"""What is not known for sure is acted on by nobody: a fleet keeps what it has, and says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.controller.pages import LONG_S, MODEL, SHORT_S, Prometheus, served
from e2e.controller.world import until

if TYPE_CHECKING:
    from e2e.controller.world import Operator, World

pytestmark = pytest.mark.cluster


def metrics(port: int, **more: object) -> dict[str, object]:
    """An operator's `metrics`, with a Prometheus at that port."""
    prometheus = {"url": f"http://127.0.0.1:{port}", "timeout_s": 5}
    return {
        "short_window_s": SHORT_S,
        "long_window_s": LONG_S,
        "stale_after_s": 10,
        "prometheus": prometheus,
        **more,
    }


def healthy(world: World, requests: float | str = 20.0, age_s: float = 1.0) -> Prometheus:
    """A Prometheus that knows of one gateway, and of a load for three replicas."""
    here, model = (world.namespace,), (world.namespace, MODEL)
    prometheus = Prometheus()
    prometheus.answers = {
        "sample_age_s": {here: age_s},
        "gateways": {here: 1.0},
        "requests": {model: requests},
        "answered": {model: requests},
        "prompt_tokens": {model: 2500.0 if requests else 0.0},
        "output_tokens": {model: 1000.0 if requests else 0.0},
    }
    return prometheus


def holds(world: World, operator: Operator, reason: str) -> None:
    """The fleet says that it does not know, and keeps its replicas."""
    until(lambda: world.is_said("MetricsHealthy", "False", reason), reason)
    operator.ticks(5)
    assert world.replicas() == 3


def test_a_load_that_prometheus_knows_of_is_answered(world: World) -> None:
    world.deployment(1)
    world.fleet()
    with served(healthy(world).reply) as port, world.operator(metrics=metrics(port)):
        until(lambda: world.replicas() == 3, "it to grow")
        until(lambda: world.is_said("MetricsHealthy", "True", "Fresh"), "metrics")


def test_a_fleet_follows_a_metric_that_the_configuration_names(world: World) -> None:
    asked = "sum by (namespace) (jobs_waiting)"
    prometheus = healthy(world, requests=0.0)
    prometheus.external[asked] = [
        ({"namespace": world.namespace}, 22.0),
        ({"namespace": "other"}, 99.0),
    ]
    policy = {"type": "external", "external": {"metric": "jobs", "target": 8}}
    world.deployment(1)
    world.fleet(policies=[policy])
    with served(prometheus.reply) as port:
        with world.operator(metrics=metrics(port, external={"jobs": asked})):
            until(lambda: world.replicas() == 3, "it to grow")
            until(lambda: world.is_said("MetricsHealthy", "True", "Fresh"), "metrics")
        with world.operator(metrics=metrics(port)) as operator:
            holds(world, operator, "MetricsMissing")
            message = world.condition("MetricsHealthy")["message"]
            assert "spec.policies[0].external.metric: 'jobs'" in message


def test_nothing_shrinks_while_prometheus_is_gone(world: World) -> None:
    world.deployment(3)
    world.fleet()
    with served(healthy(world).reply) as port:
        pass  # nobody listens there any more
    with world.operator(metrics=metrics(port)) as operator:
        holds(world, operator, "MetricsFailed")


def test_a_number_that_is_none_is_missing_and_not_zero(world: World) -> None:
    world.deployment(3)
    world.fleet()
    none = healthy(world, requests="NaN")
    none.answers["prompt_tokens"] = {(world.namespace, MODEL): "NaN"}
    with served(none.reply) as port, world.operator(metrics=metrics(port)) as operator:
        holds(world, operator, "MetricsMissing")


@pytest.mark.parametrize("age_s", [120.0, -120.0])
def test_samples_of_another_time_are_not_acted_on(world: World, age_s: float) -> None:
    world.deployment(3)
    world.fleet()
    quiet = healthy(world, requests=0.0, age_s=age_s)
    with served(quiet.reply) as port, world.operator(metrics=metrics(port)) as operator:
        holds(world, operator, "MetricsStale")
