"""Our custom resource definitions on an API server, for every test that wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan_controller.crds.main import text

if TYPE_CHECKING:
    from e2e.cluster.interface import Cluster

NAMES = ("crd/inferencefleets.cardan.dev", "crd/routingoverlays.cardan.dev")


def with_definitions(api: Cluster) -> Cluster:
    """The cluster, with our definitions there and in use."""
    api.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text())
    api.kubectl("wait", "--for=condition=Established", "--timeout=60s", *NAMES)
    return api
