"""The images on the cluster's node, once for a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.images import CLIENT, load
from tools.build_images import TARGETS

if TYPE_CHECKING:
    from e2e.cluster.interface import Cluster


@pytest.fixture(scope="session")
def tag(cluster: Cluster) -> str:
    """The tag of the images on the node, the client's too; `images.next_tag` is there as well."""
    return load(cluster, *TARGETS, CLIENT)
