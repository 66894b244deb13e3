"""The chart brings the definitions and the roles that go with them, brings those of a new version,
and leaves them when it goes; who has rights in a namespace alone installs it without them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cardan_controller.crds.definitions import definitions
from cardan_controller.crds.main import text

from e2e.cluster.errors import CommandError
from e2e.cluster.paths import ROOT
from e2e.namespaces import restricted
from tests.system.processes import until

if TYPE_CHECKING:
    from e2e.cluster.interface import Cluster

pytestmark = pytest.mark.cluster

CHART = str(ROOT / "deploy/helm/cardan")
NAMES = [one["metadata"]["name"] for one in definitions()]
ROLES = [f"cardan.dev:{role}" for role in ("view", "edit", "admin")]
OURS = "app.kubernetes.io/name=cardan,app.kubernetes.io/component=crds"

# As a version before might have had it.
NO_RULES = '[{"op": "remove", "path": "/rules"}]'


def owners(api: Cluster, kind: str = "crd") -> dict[str, str]:
    """Whose each definition is, or each role that goes with them, by name."""
    of_kind = ("get", kind, *(() if kind == "crd" else ("-l", OURS)), "-o", "json")
    listed = json.loads(api.kubectl(*of_kind))["items"]
    return {
        one["metadata"]["name"]: one["metadata"]["annotations"].get("meta.helm.sh/release-name", "")
        for one in listed
    }


@pytest.fixture(autouse=True)
def nothing_there(private_api: Cluster) -> None:
    """Each test begins without releases, definitions and roles."""
    private_api.helm("uninstall", "first", "second", "only", "late", "--ignore-not-found")
    private_api.kubectl("delete", "crd", *NAMES, "--ignore-not-found")
    private_api.kubectl("delete", "clusterrole", *ROLES, "--ignore-not-found")


def test_the_first_release_brings_them_and_they_stay_when_it_goes(private_api: Cluster) -> None:
    private_api.helm("install", "first", CHART)
    assert owners(private_api) == dict.fromkeys(NAMES, "first")
    told = private_api.helm("install", "second", CHART)
    assert owners(private_api) == dict.fromkeys(NAMES, "first")
    assert "inferencefleets.cardan.dev is of default/first" in told
    private_api.helm("upgrade", "first", CHART, "--set", "crds.install=false")
    assert set(owners(private_api)) == set(NAMES)
    for release in ("first", "second"):
        private_api.helm("uninstall", release)
    assert set(owners(private_api)) == set(NAMES)


def test_an_upgrade_brings_what_has_changed(private_api: Cluster) -> None:
    private_api.helm("install", "only", CHART)
    named = ("crd", "inferencefleets.cardan.dev")
    columns = '[{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns"}]'
    private_api.kubectl("patch", *named, "--type=json", "-p", columns)
    private_api.helm("upgrade", "only", CHART, "--force-conflicts")
    found = json.loads(private_api.kubectl("get", *named, "-o", "json"))
    assert found["spec"]["versions"][0]["additionalPrinterColumns"]
    private_api.helm("uninstall", "only")


def test_what_somebody_has_applied_by_hand_is_theirs(private_api: Cluster) -> None:
    private_api.kubectl("apply", "--server-side", "-f", "-", input=text())
    told = private_api.helm("install", "late", CHART)
    assert owners(private_api) == dict.fromkeys(NAMES, "")
    assert "inferencefleets.cardan.dev is not of a release" in told
    private_api.helm("uninstall", "late")
    assert set(owners(private_api)) == set(NAMES)


def test_roles_for_people_stay_with_the_definitions_when_their_release_goes(
    private_api: Cluster,
) -> None:
    private_api.helm("install", "first", CHART)
    private_api.helm("install", "second", CHART)
    private_api.helm("uninstall", "first")
    assert owners(private_api, "clusterrole") == dict.fromkeys(ROLES, "first")
    private_api.helm("upgrade", "second", CHART)
    assert owners(private_api, "clusterrole") == dict.fromkeys(ROLES, "first")
    private_api.helm("uninstall", "second")


def test_another_release_takes_over_what_one_that_is_gone_has_left(private_api: Cluster) -> None:
    private_api.helm("install", "first", CHART)
    private_api.helm("install", "second", CHART)
    private_api.helm("uninstall", "first")
    private_api.kubectl("patch", "clusterrole", ROLES[0], "--type=json", "-p", NO_RULES)
    # The command of docs/how-to/install.md.
    now = ("meta.helm.sh/release-namespace=default", "meta.helm.sh/release-name=second")
    private_api.kubectl("annotate", "--overwrite", "crd,clusterrole", "-l", OURS, *now)
    told = private_api.helm("upgrade", "second", CHART, "--force-conflicts")
    assert "stays as it is" not in told
    assert owners(private_api) == dict.fromkeys(NAMES, "second")
    assert owners(private_api, "clusterrole") == dict.fromkeys(ROLES, "second")
    assert json.loads(private_api.kubectl("get", "clusterrole", ROLES[0], "-o", "json"))["rules"]
    private_api.helm("uninstall", "second")


def test_definitions_that_were_deleted_come_back_beside_roles_of_somebody_else(
    private_api: Cluster,
) -> None:
    private_api.helm("install", "first", CHART)
    private_api.helm("uninstall", "first")
    private_api.kubectl("delete", "crd", *NAMES)
    private_api.helm("install", "second", CHART)
    assert owners(private_api) == dict.fromkeys(NAMES, "second")
    assert owners(private_api, "clusterrole") == dict.fromkeys(ROLES, "first")
    private_api.helm("uninstall", "second")


@pytest.mark.parametrize("roles", [True, False])
def test_who_has_rights_in_a_namespace_alone_installs_it_without_definitions(
    private_api: Cluster, *, roles: bool
) -> None:
    private_api.helm("install", "first", CHART, "--set", f"crds.userRoles={str(roles).lower()}")
    without = ("--set", f"crds.install=false,discovery.kubernetes.overlays={str(roles).lower()}")
    with restricted(private_api, "team") as name:
        bound = ("--clusterrole=admin", "--user=newcomer", "-n", name)
        private_api.kubectl("create", "rolebinding", "newcomer", *bound)
        asked = ("auth", "can-i", "list", "routingoverlays", "-n", name, "--as=newcomer")
        until(lambda: can(private_api, *asked) == roles, "the cluster's roles to be put together")
        theirs = ("-n", name, "--kube-as-user", "newcomer")
        with pytest.raises(CommandError, match="customresourcedefinitions"):
            private_api.helm("install", "small", CHART, *theirs)
        told = private_api.helm("install", "small", CHART, *theirs, *without)
        assert "STATUS: deployed" in told
        private_api.helm("upgrade", "small", CHART, *theirs, *without)
        private_api.helm("uninstall", "small", *theirs)


def can(api: Cluster, *asked: str) -> bool:
    """What `kubectl auth can-i` answers; by its status too."""
    try:
        return api.kubectl(*asked).startswith("yes")
    except CommandError:
        return False
