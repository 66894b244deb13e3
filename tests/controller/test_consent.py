"""A fleet has the gateways of its own namespace, or such as their owner has opened to it."""

from __future__ import annotations

import msgspec
import pytest
from cardan_controller.carrying import home_of
from cardan_controller.consent import admitted, opened
from cardan_controller.crds.documents import Fleet, read_fleet


def fleet(gateways: str) -> Fleet:
    """One of namespace `team` that names gateways."""
    spec = {
        "model": "m",
        "pools": [{"name": "main", "scaleTargetRef": {"kind": "Deployment", "name": "llama"}}],
        "gateways": {"namespace": gateways},
    }
    manifest = {"metadata": {"name": "llama", "namespace": "team"}, "spec": spec}
    return read_fleet(msgspec.json.encode(manifest))


@pytest.mark.parametrize(
    ("gateways", "opened"),
    [("", []), ("team", []), ("llm", ["llm"]), ("other", ["llm", "other"]), ("other", ["*"])],
)
def test_gateways_of_its_own_namespace_or_of_an_open_one_are_its_own(
    gateways: str, opened: list[str]
) -> None:
    assert admitted(fleet(gateways), opened) == fleet(gateways)


def test_gateways_that_are_not_open_are_a_problem_of_the_field() -> None:
    found = admitted(fleet("other"), ["llm"])
    assert found.spec is None
    assert found.problem.startswith("spec.gateways.namespace: 'other' is not open")
    assert "gateways.namespaces" in found.problem
    assert home_of(found).gateways == "team"  # nothing is written there, nor deleted


def test_a_specification_that_cannot_be_read_keeps_its_own_problem() -> None:
    broken = fleet("other")._replace(spec=None, problem="spec.model: what is it")
    assert admitted(broken, []) == broken


@pytest.mark.parametrize(
    ("listed", "looked_after", "found"),
    [
        ([], [], {"home"}),
        (["llm"], [], {"home", "llm"}),
        (["*"], [], {"home", "*"}),
        ([], ["team"], set()),
        ([], ["team", "home"], {"home"}),
        (["llm", "team"], ["team"], {"team"}),
        (["*"], ["team", "llm"], {"team", "llm"}),
    ],
)
def test_gateways_where_nothing_is_watched_are_open_to_nobody(
    listed: list[str], looked_after: list[str], found: set[str]
) -> None:
    assert opened("home", listed, looked_after) == found
