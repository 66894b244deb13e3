"""The chart brings the definitions of `cardan crds`, unchanged, and leaves them where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan_controller.crds.definitions import definitions

from tests.chart.helm import RELEASE, Object, nested, of_kind, render

if TYPE_CHECKING:
    from tests.chart.helm import Values

KIND = "CustomResourceDefinition"
KEEP = "helm.sh/resource-policy"


def brought(values: Values | None = None) -> list[Object]:
    return of_kind(render(values), KIND)


def test_they_are_those_of_the_command() -> None:
    assert [found["spec"] for found in brought()] == [one["spec"] for one in definitions()]
    assert [found["metadata"]["name"] for found in brought()] == [
        one["metadata"]["name"] for one in definitions()
    ]


def test_they_are_labelled_and_kept() -> None:
    for found in brought():
        assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == RELEASE
        assert found["metadata"]["annotations"][KEEP] == "keep"


def test_they_go_with_the_release_where_that_is_wanted() -> None:
    found = brought(nested("crds.keep", False))
    assert len(found) == len(definitions())
    assert not any(KEEP in one["metadata"]["annotations"] for one in found)


def test_they_are_left_out_where_somebody_else_brings_them() -> None:
    assert brought(nested("crds.install", False)) == []
