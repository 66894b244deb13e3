"""The images on the cluster's node, once for a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.cluster.errors import UnavailableError
from e2e.conftest import give_up
from e2e.deploy import images

if TYPE_CHECKING:
    from e2e.cluster.interface import Cluster


@pytest.fixture(scope="session")
def tags(cluster: Cluster) -> images.Tags:
    """`localhost/cardan-router`, `-engine` and `-client` on the node, under two tags each."""
    try:
        return images.load(cluster, "router", "engine", "client")
    except UnavailableError as missing:
        give_up(str(missing))
