"""What no operator saw leave is removed, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cardan_controller.planning import FLEET_LABEL, FLEET_NAMESPACE_LABEL
from cardan_controller.sweeping import OURS, Sweeper
from cardan_controller.telemetry import Telemetry
from cardan_kube.api import ApiError
from cardan_kube.reflector import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cardan_kube.api import Request

GROUP = "/apis/cardan.dev/v1alpha1"
VERSION = {"resourceVersion": "1"}
OWN = "here/cardan-controller"
OTHER = "there/cardan-controller"


class Cluster:
    """Overlays and fleets as lists of two pages."""

    def __init__(self) -> None:
        self.overlays: list[dict[str, Any]] = []
        self.fleets: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.asked: list[str] = []
        self.refusal: Fault | None = None

    def overlay(self, namespace: str, name: str, *, of: str) -> None:
        """An overlay, of a fleet `NAMESPACE/NAME`."""
        whose, _, fleet = of.partition("/")
        labels = {FLEET_NAMESPACE_LABEL: whose, FLEET_LABEL: fleet}
        meta = {
            "name": name,
            "namespace": namespace,
            "uid": f"u-{name}",
            "labels": labels,
            **VERSION,
        }
        self.overlays.append({"metadata": meta})

    def fleet(self, namespace: str, name: str, gateways: str = "", **more: Any) -> None:
        """A fleet."""
        target = {"kind": "Deployment", "name": name}
        spec = {
            "model": "m",
            "pools": [{"name": "main", "scaleTargetRef": target}],
            "gateways": {"namespace": gateways},
            **more.pop("spec", {}),
        }
        status = {"operator": more.pop("operator", "")}
        meta = {"name": name, "namespace": namespace, **VERSION, **more}
        self.fleets.append({"metadata": meta, "spec": spec, "status": status})

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """See `Api`."""
        self.asked.append(path)
        every = self.fleets
        if path.endswith("/routingoverlays"):
            assert query["labelSelector"] == OURS
            every = self.overlays
        scope = path.removeprefix(f"{GROUP}/namespaces/").partition("/")[0]
        if path.startswith(f"{GROUP}/namespaces/"):
            every = [one for one in every if one["metadata"]["namespace"] == scope]
        half = len(every) // 2
        first = "continue" not in query
        page = every[:half] if first else every[half:]
        meta = {"resourceVersion": "1", "continue": "more" if first else ""}
        return msgspec.json.encode({"metadata": meta, "items": page})

    async def send(self, request: Request) -> bytes:
        """See `Api`."""
        assert request.method == "DELETE"
        if self.refusal is not None:
            raise ApiError(self.refusal, "refused")
        uid = request.body["preconditions"]["uid"]  # type: ignore[index]  # JSON
        self.deleted.append(request.path.removeprefix(f"{GROUP}/namespaces/"))
        assert uid == f"u-{request.path.rpartition('/')[2]}"
        return b"{}"


def sweeper(
    cluster: Cluster, *namespaces: str, opened: tuple[str, ...] = ("llm",), leads: bool = True
) -> Sweeper:
    """A leader's."""
    return Sweeper(cluster, OWN, namespaces, opened, lambda: leads, Telemetry())


async def test_overlays_in_former_gateways_namespaces_are_removed() -> None:
    cluster = Cluster()
    cluster.fleet("team", "llama", "llm")
    cluster.fleet("team", "home")
    cluster.overlay("llm", "team.llama", of="team/llama")
    cluster.overlay("team", "llama", of="team/llama")
    cluster.overlay("llm", "team.home", of="team/home")
    cluster.overlay("team", "home", of="team/home")
    cluster.overlay("llm", "team.gone", of="team/gone")
    await sweeper(cluster).sweep()
    assert cluster.deleted == [
        "team/routingoverlays/llama",
        "llm/routingoverlays/team.home",
        "llm/routingoverlays/team.gone",
    ]


async def test_what_was_told_to_gateways_that_are_no_longer_open_is_taken_back() -> None:
    cluster = Cluster()
    cluster.fleet("team", "llama", "other")
    cluster.overlay("other", "team.llama", of="team/llama")
    await sweeper(cluster, opened=("llm", "other")).sweep()
    assert cluster.deleted == []
    await sweeper(cluster).sweep()
    assert cluster.deleted == ["other/routingoverlays/team.llama"]


@pytest.mark.parametrize(
    "more",
    [
        {"spec": {"paused": True}},
        {"spec": {"model": 3}},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"generation": "no number"},
    ],
    ids=["paused", "no specification", "being deleted", "no object"],
)
async def test_where_nobody_can_tell_or_it_is_not_to_be_touched_it_stays(more: Any) -> None:
    cluster = Cluster()
    cluster.fleet("team", "llama", "llm", **more)
    cluster.overlay("team", "llama", of="team/llama")
    await sweeper(cluster).sweep()
    assert cluster.deleted == []


async def test_fleets_of_other_operators_keep_theirs() -> None:
    cluster = Cluster()
    cluster.overlay("llm", "theirs.llama", of="theirs/llama")
    cluster.overlay("llm", "gone", of="llm/gone")
    await sweeper(cluster, "llm", "team").sweep()
    assert cluster.deleted == ["llm/routingoverlays/gone"]
    assert f"{GROUP}/namespaces/team/inferencefleets" in cluster.asked


async def test_a_fleet_that_another_operator_keeps_has_its_gateways_where_that_one_says() -> None:
    cluster = Cluster()
    for name, keeper in (("theirs", OTHER), ("ours", OWN), ("new", "")):
        cluster.fleet("llm", name, "elsewhere", operator=keeper)  # not open, to this operator
        cluster.overlay("elsewhere", f"llm.{name}", of=f"llm/{name}")
    await sweeper(cluster).sweep()
    assert cluster.deleted == [
        "elsewhere/routingoverlays/llm.ours",
        "elsewhere/routingoverlays/llm.new",
    ]


async def test_who_does_not_lead_removes_nothing() -> None:
    cluster = Cluster()
    cluster.overlay("llm", "gone", of="llm/gone")
    await sweeper(cluster, leads=False).sweep()
    assert cluster.deleted == []


async def test_what_is_gone_already_is_as_it_should_be_and_a_refusal_is_told() -> None:
    cluster = Cluster()
    cluster.overlay("llm", "gone", of="llm/gone")
    cluster.refusal = Fault.NOT_FOUND
    await sweeper(cluster).sweep()
    cluster.refusal = Fault.FORBIDDEN
    with pytest.raises(ApiError):
        await sweeper(cluster).sweep()
