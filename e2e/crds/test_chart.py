"""The chart brings the definitions, brings those of a new version, and leaves them when it goes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cardan_controller.crds.definitions import definitions
from cardan_controller.crds.main import text

from e2e.cluster.paths import ROOT

if TYPE_CHECKING:
    from e2e.cluster.interface import Cluster

pytestmark = pytest.mark.cluster

CHART = str(ROOT / "deploy/helm/cardan")
NAMES = [one["metadata"]["name"] for one in definitions()]


def owners(api: Cluster) -> dict[str, str]:
    """Whose each definition is, by name."""
    listed = json.loads(api.kubectl("get", "crd", "-o", "json"))["items"]
    return {
        one["metadata"]["name"]: one["metadata"]["annotations"].get("meta.helm.sh/release-name", "")
        for one in listed
    }


@pytest.fixture(autouse=True)
def nothing_there(private_api: Cluster) -> None:
    """Each test begins without definitions."""
    private_api.kubectl("delete", "crd", *NAMES, "--ignore-not-found")


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
