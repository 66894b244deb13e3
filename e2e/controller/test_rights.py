"""The rights that the chart gives its operator are enough for all it does. Where one of them is
missing something is not done, and the log says which.

What the account may do is in `rights/`, as `kubectl auth can-i --list` tells it. To write it anew:
CARDAN_WRITE_GOLDEN=1.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.controller import rights
from e2e.controller.world import Operator, World, until
from e2e.discovery import chart

if TYPE_CHECKING:
    import contextlib

    from e2e.cluster.interface import Cluster
    from e2e.controller.rights import Right

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]
GOLDEN = Path(__file__).parent / "rights"
WATCHED = (
    *("pods", "deployments", "statefulsets", "horizontalpodautoscalers"),
    *("poddisruptionbudgets", "routingoverlays"),
)
# Each right, in the order in which an operator that has none of them asks for it.
LEASE: tuple[Right, ...] = (("leases", "get"), ("leases", "create"))
WRITES: tuple[Right, ...] = (
    ("inferencefleets", "patch"),
    ("inferencefleets/status", "patch"),
    ("events", "create"),
    ("statefulsets/scale", "patch"),
    ("routingoverlays", "patch"),
    ("routingoverlays", "create"),
    ("pods", "patch"),
    ("deployments/scale", "patch"),
    ("routingoverlays", "delete"),
    ("pods", "delete"),
)
READS: tuple[Right, ...] = tuple((one, "list") for one in WATCHED)
FOLLOWED: tuple[Right, ...] = tuple((one, "watch") for one in WATCHED)
FLEETS: tuple[Right, ...] = (("inferencefleets", "list"), ("inferencefleets", "watch"))
RENEWAL: tuple[Right, ...] = (("leases", "update"),)


class Account:
    """The operator's account in a world's namespace, and an operator that acts as it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.objects = rights.rendered(world.namespace)
        self._missing: set[Right] = set()

    def lacks(self, *missing: Right) -> None:
        """These rights are missing from now on, and no others."""
        self._missing = set(missing)
        chart.apply(self.world.api, rights.without(self.objects, missing))

    def gets(self, *given: Right) -> None:
        """These are there again."""
        self.lacks(*(self._missing - set(given)))

    def operator(self, **config: object) -> contextlib.AbstractContextManager[Operator]:
        """An operator with the chart's configuration as this account."""
        own = self.world.api.kubeconfig_for(self.world.namespace, rights.ACCOUNT)
        told = rights.configured(self.objects)
        chart_says = {name: told[name] for name in ("namespaces", "wake_url")}
        gateways = {**told["gateways"], "metrics_port": self.world.port}
        return self.world.operator(
            kubeconfig=str(own), gateways=gateways, **{**chart_says, **config}
        )


@pytest.fixture
def account(world: World) -> Account:
    """The account, with all its rights."""
    account = Account(world)
    account.lacks()
    return account


def says(operator: Operator, right: Right) -> None:
    """Wait until the log names the right that is missing."""
    resource, verb = right
    words = f'cannot {verb} resource "{resource}"'
    until(lambda: words in operator.output().replace("\\", ""), words)


def test_every_right_of_the_chart_is_taken_away_by_one_of_these_tests() -> None:
    taken = (*LEASE, *RENEWAL, *READS, *FOLLOWED, *FLEETS, *WRITES)
    assert len(taken) == len(set(taken))
    assert set(taken) == rights.every(rights.rendered("home"))


def test_nobody_may_do_more_than_is_written_down(installed: Cluster) -> None:
    home, away = (f"{word}-{secrets.token_hex(3)}" for word in ("home", "away"))
    for name in (home, away):
        installed.kubectl("create", "namespace", name)
    try:
        everybody = set(chart.can_do(installed, home, "default", home))
        modes: dict[str, list[str]] = {"own": [], "several": [home, away], "all": ["*"]}
        for mode, namespaces in modes.items():
            objects = rights.account(rights.rendered(home, namespaces))
            chart.apply(installed, objects)
            places = {"its own": home, "the other": away, "anywhere else": "default"}
            lines = [f"# {mode}: what the account may do beyond everybody, by namespace."]
            for title, where in places.items():
                rows = chart.can_do(installed, home, rights.ACCOUNT, where)
                lines += [f"{title}:", *(f"  {row}" for row in rows if row not in everybody)]
            agrees(mode, lines)
            installed.kubectl("-n", home, "delete", "role,rolebinding", "--all")
            installed.kubectl("-n", away, "delete", "role,rolebinding", "--all")
            if mode == "all":
                label = f"app.kubernetes.io/component={rights.PART}"
                installed.kubectl("delete", "clusterrole,clusterrolebinding", "-l", label)
    finally:
        installed.kubectl("delete", "namespace", home, away, "--wait=false")


def agrees(name: str, found: list[str]) -> None:
    """Compare with what is written down."""
    path, text = GOLDEN / f"{name}.txt", "\n".join(found) + "\n"
    if os.environ.get("CARDAN_WRITE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_nobody_leads_without_rights_on_the_lease(account: Account) -> None:
    account.lacks(*LEASE)
    with account.operator() as operator:
        for right in LEASE:
            says(operator, right)
            assert not operator.leads()
            account.gets(right)
        until(operator.leads, "it to lead")
        account.lacks(*RENEWAL)
        says(operator, *RENEWAL)
        until(lambda: operator.process.poll() is not None, "it to end: its lease is lost")


def test_nothing_is_decided_before_all_is_listed(account: Account) -> None:
    account.lacks(*READS)
    account.world.deployment(1)
    account.world.fleet(replicas=2)
    with account.operator() as operator:
        for right in READS:
            says(operator, right)
        until(operator.leads, "it to lead")
        assert account.world.status() == {}
        assert "everything is listed" not in operator.output()
        account.gets(*READS)
        until(lambda: account.world.replicas() == 2, "it to act")


def test_watches_that_are_not_allowed_are_said(account: Account) -> None:
    account.lacks(*FOLLOWED)
    with account.operator() as operator:
        for right in FOLLOWED:
            says(operator, right)


@pytest.mark.parametrize("right", FLEETS, ids=lambda right: right[1])
def test_fleets_that_may_not_be_read_are_said(account: Account, right: Right) -> None:
    account.lacks(right)
    with account.operator() as operator:
        until(lambda: "inferencefleets" in operator.output(), "fleets to be asked for")
        until(lambda: "forbidden" in operator.output().lower(), "it to be said")


class Grants:
    """Rights that are given one after the other, each when the operator has missed it."""

    def __init__(self, account: Account, operator: Operator) -> None:
        self._account = account
        self._operator = operator
        self._left = list(WRITES)

    def missed(self, resource: str) -> None:
        """The next one is of this resource: it is missed, and given."""
        right = self._left.pop(0)
        assert right[0] == resource
        says(self._operator, right)
        self._account.gets(right)

    @property
    def all_given(self) -> bool:
        """Has every right been missed?"""
        return not self._left


def test_each_write_takes_its_right_and_no_other(account: Account) -> None:
    world = account.world
    account.lacks(*WRITES)
    world.deployment(2)
    world.deployment(1, name="stateful", kind="StatefulSet")
    world.fleet(replicas=2)
    until(lambda: len(world.names()) == 3, "pods")
    with account.operator() as operator:
        grants = Grants(account, operator)
        tells(world, grants)
        grows(world, grants)
        drains(world, grants)
        restarts(world, grants)
        assert grants.all_given
        assert world.events()


def tells(world: World, grants: Grants) -> None:
    """Finalizer, status, events."""
    grants.missed("inferencefleets")
    grants.missed("inferencefleets/status")
    until(lambda: world.is_said("Ready", "True"), "a status")


def grows(world: World, grants: Grants) -> None:
    """A StatefulSet."""
    target = {"scaleTargetRef": {"kind": "StatefulSet", "name": "stateful"}}
    world.fleet("stateful", model="other", replicas=2, pool=target)
    grants.missed("events")
    grants.missed("statefulsets/scale")
    until(lambda: world.replicas("stateful", "statefulsets") == 2, "a StatefulSet to grow")


def drains(world: World, grants: Grants) -> None:
    """A Deployment that shrinks."""
    world.page.in_flight(**dict.fromkeys(world.names(), 3.0))
    world.fleet(replicas=1)
    grants.missed("routingoverlays")
    grants.missed("routingoverlays")
    until(lambda: world.overlay().get("draining"), "a drain")
    grants.missed("pods")
    world.page.in_flight(**dict.fromkeys(world.names(), 0.0))
    grants.missed("deployments/scale")
    until(lambda: world.replicas() == 1, "a Deployment to shrink")
    grants.missed("routingoverlays")
    until(lambda: not world.overlay(), "gateways to be told otherwise")


def restarts(world: World, grants: Grants) -> None:
    """An engine that fails whatever it is asked."""
    world.fleet(replicas=3, failureDetection={"afterSeconds": 1})
    until(lambda: len(engines(world)) == 3, "three engines")
    sick, *well = engines(world)
    world.page.rates = {
        **{f'cardan_endpoint_requests_total{{endpoint="{pod}"}}': 5.0 for pod in (sick, *well)},
        f'cardan_dispatch_failures_total{{endpoint="{sick}",failure="reset"}}': 5.0,
    }
    grants.missed("pods")
    until(lambda: sick not in world.names(), "it to be restarted")


def engines(world: World) -> list[str]:
    """The pods of the Deployment."""
    return [
        pod["metadata"]["name"]
        for pod in world.pods()
        if pod["metadata"]["labels"]["pool"] == "llama"
    ]
