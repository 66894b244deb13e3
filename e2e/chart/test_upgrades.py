"""What `helm upgrade` and `helm rollback` do to a release that stands, as a real API server has it:
an autoscaler takes over the gateways that there are, and what it has set stays, forth and back.

Helm has two ways: it applies on the server (Helm 4), or patches (Helm 3, and Helm 4 with
`--server-side=false`). `kubectl scale` does what an autoscaler does: it sets the number by the
subresource, as another manager of the field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from e2e.chart.conftest import CHART
from e2e.cluster.errors import CommandError
from tests.chart.helm import nested

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from e2e.cluster.interface import Cluster

    Namespaces = Callable[[], AbstractContextManager[str]]

pytestmark = pytest.mark.cluster
APPLIES: Final = "--server-side=true"
PATCHES: Final = "--server-side=false"
ROUTER: Final = "cardan-router"
SCALED: Final = nested("router.autoscaling.enabled", True)
CHANGED: Final = {**SCALED, **nested("config.workers", 2)}
ENGINES: Final = nested("engines.simulated", {"enabled": True, "scaledByOthers": True})
# Somebody else's number is kept for gateways and for simulated engines: each as it was installed,
# and with another image.
COMPONENTS: Final = {
    ROUTER: (SCALED, {**SCALED, **nested("image.tag", "other")}),
    "cardan-engine": (ENGINES, {**ENGINES, **nested("image.tag", "other")}),
}


class Release:
    """A chart in a namespace of an API server on which nothing runs."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def upgrade(self, values: dict[str, Any], *flags: str, of: str = ROUTER) -> int:
        """Install it or change it; how many pods there are to be."""
        self.cluster.helm(
            *("upgrade", "cardan", str(CHART), "--install", "--namespace", self.namespace, *flags),
            *("--values", "-"),
            input=yaml.safe_dump(values),
        )
        return self.replicas(of)

    def rollback(self, revision: int, *flags: str, of: str = ROUTER) -> int:
        """Go back; how many pods there are to be."""
        self.cluster.helm(
            *("rollback", "cardan", str(revision), "--namespace", self.namespace, *flags)
        )
        return self.replicas(of)

    def scale(self, replicas: int, of: str = ROUTER) -> None:
        """What an autoscaler does."""
        self._kubectl("scale", f"deployment/{of}", f"--replicas={replicas}")

    def replicas(self, of: str = ROUTER) -> int:
        """How many pods there are to be."""
        return int(self._get(of, "{.spec.replicas}"))

    def image(self, of: str = ROUTER) -> str:
        """What they are to run."""
        return self._get(of, "{.spec.template.spec.containers[0].image}")

    def _get(self, of: str, path: str) -> str:
        return self._kubectl("get", "deployment", of, "-o", f"jsonpath={path}")

    def _kubectl(self, *argv: str) -> str:
        return self.cluster.kubectl("-n", self.namespace, *argv)


@pytest.fixture
def release(api: Cluster, namespaces: Namespaces) -> Iterator[Release]:
    """A release to be."""
    with namespaces() as name:
        yield Release(api, name)


@pytest.mark.parametrize("how", [APPLIES, PATCHES])
def test_an_autoscaler_takes_over_the_gateways_that_there_are(release: Release, how: str) -> None:
    assert release.upgrade(nested("router.replicas", 5), how) == 5
    assert release.upgrade(SCALED, how) == 5
    release.scale(7)
    assert release.upgrade(SCALED, how) == 7
    assert release.upgrade(CHANGED, how) == 7


@pytest.mark.parametrize(
    ("of", "how"), [(ROUTER, APPLIES), (ROUTER, PATCHES), ("cardan-engine", PATCHES)]
)
def test_what_an_autoscaler_has_set_stays_on_the_way_back(
    release: Release, of: str, how: str
) -> None:
    values, changed = COMPONENTS[of]
    assert release.upgrade(values, how, of=of) == 1
    release.scale(7, of)
    assert release.upgrade(changed, how, of=of) == 7
    assert release.upgrade(values, how, of=of) == 7
    release.scale(9, of)
    assert release.rollback(2, of=of) == 9
    assert release.image(of).endswith(":other")
    assert release.rollback(1, of=of) == 9
    assert not release.image(of).endswith(":other")


@pytest.mark.parametrize("how", [APPLIES, PATCHES])
def test_an_upgrade_that_fails_is_taken_back_beside_an_autoscaler(
    release: Release, how: str
) -> None:
    """No pod runs here, so none gets ready, before or after: what is looked at is what was told."""
    values, changed = COMPONENTS[ROUTER]
    release.upgrade(values, how)
    release.scale(9)
    with pytest.raises(CommandError) as failed:
        release.upgrade(changed, how, "--wait", "--rollback-on-failure", "--timeout=2s")
    assert "conflict" not in str(failed.value)
    assert release.replicas() == 9
    assert not release.image().endswith(":other")


def test_of_an_autoscaler_turned_on_later_only_revisions_before_its_first_number_have_one(
    release: Release,
) -> None:
    release.upgrade(nested("router.replicas", 5))
    assert release.upgrade(SCALED) == 5
    release.scale(7)
    assert release.upgrade(SCALED) == 7
    release.scale(9)
    assert release.upgrade(CHANGED) == 9
    assert release.rollback(3) == 9
    with pytest.raises(CommandError, match="conflict"):
        release.rollback(2)
    assert release.rollback(2, "--force-conflicts") == 5
    release.scale(7)
    assert release.upgrade(SCALED) == 7


def test_a_number_that_was_scaled_by_hand_first_is_in_no_revision_of_the_autoscaler(
    release: Release,
) -> None:
    release.upgrade(nested("router.replicas", 5))
    release.scale(6)
    assert release.upgrade(SCALED) == 6
    release.scale(9)
    release.upgrade(CHANGED)
    assert release.rollback(2) == 9


def test_where_helm_patches_a_revision_that_turned_it_on_brings_its_number_back(
    release: Release,
) -> None:
    release.upgrade(nested("router.replicas", 5), PATCHES)
    release.upgrade(SCALED, PATCHES)
    release.scale(9)
    assert release.upgrade(SCALED, PATCHES) == 9
    assert release.rollback(2) == 5


@pytest.mark.parametrize("how", [APPLIES, PATCHES])
def test_turned_off_again_the_number_is_the_one_of_the_values(release: Release, how: str) -> None:
    release.upgrade(SCALED, how)
    release.scale(7)
    forced = ["--force-conflicts"] if how == APPLIES else []
    assert release.upgrade(nested("router.replicas", 3), how, *forced) == 3
    assert release.upgrade(SCALED, how) == 3


def test_values_that_were_set_before_are_kept_by_the_flag_that_the_notes_tell(
    release: Release,
) -> None:
    release.upgrade(nested("router.replicas", 3))
    more = nested("engines.simulated.enabled", True)
    assert release.upgrade(more, "--reset-then-reuse-values") == 3
    assert release.replicas("cardan-engine") == 4
