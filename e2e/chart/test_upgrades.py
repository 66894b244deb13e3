"""What `helm upgrade` does to a release that stands, as a real API server has it: an autoscaler
takes over the gateways that there are, and what it has set stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from e2e.chart.conftest import CHART
from tests.chart.helm import nested

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from e2e.cluster.interface import Cluster

    Namespaces = Callable[[], AbstractContextManager[str]]

pytestmark = pytest.mark.cluster
SCALED = nested("router.autoscaling.enabled", True)


def upgrade(cluster: Cluster, namespace: str, values: dict[str, Any], *flags: str) -> int:
    """Install it or change it; how many gateways there are to be."""
    cluster.helm(
        *("upgrade", "cardan", str(CHART), "--install", "--namespace", namespace, *flags),
        *("--values", "-"),
        input=yaml.safe_dump(values),
    )
    return replicas(cluster, namespace)


def replicas(cluster: Cluster, namespace: str) -> int:
    """How many gateways there are to be."""
    which = ("deployment", "cardan-router", "-o", "jsonpath={.spec.replicas}")
    return int(cluster.kubectl("-n", namespace, "get", *which))


@pytest.mark.parametrize("flag", ["--server-side=true", "--server-side=false"])
def test_an_autoscaler_takes_over_the_gateways_that_there_are(
    api: Cluster, namespaces: Namespaces, flag: str
) -> None:
    """Helm 3 patches as `--server-side=false` does; Helm 4 applies on the server."""
    with namespaces() as name:
        assert upgrade(api, name, nested("router.replicas", 5), flag) == 5
        assert upgrade(api, name, SCALED, flag) == 5
        # What an autoscaler does: by the subresource, as another manager of the field.
        api.kubectl("-n", name, "scale", "deployment/cardan-router", "--replicas=7")
        assert upgrade(api, name, SCALED, flag) == 7
        assert upgrade(api, name, {**SCALED, **nested("config.workers", 2)}, flag) == 7


def test_values_that_were_set_before_are_kept_by_the_flag_that_the_notes_tell(
    api: Cluster, namespaces: Namespaces
) -> None:
    with namespaces() as name:
        upgrade(api, name, nested("router.replicas", 3))
        more = nested("engines.simulated.enabled", True)
        assert upgrade(api, name, more, "--reset-then-reuse-values") == 3
        assert "cardan-engine" in api.kubectl("-n", name, "get", "deployments", "-o", "name")
