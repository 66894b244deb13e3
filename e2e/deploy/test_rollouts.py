"""Nothing is lost by any change to a release under load, but what a killed process carried.

An upgrade and its rollback under the same load are in `test_lifecycle`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.deploy.changes import CHANGES, Change, measure
from e2e.deploy.release import BRISK, Release
from e2e.deploy.running import RATE_PER_S
from e2e.namespaces import restricted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster.interface import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def release(cluster: Cluster, tag: str) -> Iterator[Release]:
    """Two gateways and four engines, for all tests of this module."""
    with restricted(cluster, "deploy") as where:
        release = Release(cluster, where, BRISK)
        release.install(tag)
        yield release


@pytest.mark.parametrize(
    "change",
    [change for change in CHANGES if change.name not in ("upgrade", "rollback")],
    ids=lambda change: change.name,
)
def test_nothing_is_lost_by(change: Change, release: Release) -> None:
    result = measure(release, change, RATE_PER_S)
    assert result.lost == []
    assert result.report.outcomes["ok"] > RATE_PER_S  # there was a load
    assert bool(result.carried) is result.name.startswith(("kill", "force"))
