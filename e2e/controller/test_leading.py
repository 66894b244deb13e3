"""Two operators and one Lease on a real API server: one leads, the other follows when it goes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cardan.instants import Monotonic, WallTime
from cardan_controller.election import Election, LeaseConfig
from cardan_controller.leading import Leader
from cardan_kube.api import KubernetesApi

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from e2e.cluster.interface import Cluster

pytestmark = pytest.mark.cluster

QUICK = LeaseConfig(
    namespace="default", duration_s=6.0, renew_deadline_s=4.0, retry_s=0.2, name="e2e-operator"
)


class Replica(NamedTuple):
    """One that takes part."""

    leader: Leader
    task: asyncio.Task[None]
    api: KubernetesApi


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it; the test fails after 20 s."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def replica(cluster: Cluster, name: str) -> AsyncIterator[Replica]:
    """Takes part until the end of the block, and lets go of the lease then."""
    api = KubernetesApi(str(cluster.kubeconfig))
    election = Election(name, QUICK, Random(name))
    leader = Leader(
        election,
        api,
        QUICK,
        f"http://{name}.test",
        monotonic=lambda: Monotonic(time.monotonic()),
        wall=lambda: WallTime(time.time()),
    )
    task = asyncio.create_task(leader.run())
    try:
        yield Replica(leader, task, api)
    finally:
        task.cancel()
        await asyncio.wait([task])
        await api.close()


def spec(cluster: Cluster) -> dict[str, object]:
    """What the Lease says."""
    found: dict[str, object] = json.loads(
        cluster.kubectl("get", "lease", QUICK.name, "-n", "default", "-o", "json")
    )["spec"]
    return found


async def test_one_leads_and_the_other_follows_who_resigns(api: Cluster) -> None:
    async with replica(api, "b") as second, replica(api, "a") as first:
        await until(lambda: first.leader.leads() or second.leader.leads(), "a leader")
        follower = second if first.leader.leads() else first
        holder = first if first.leader.leads() else second
        name = "a" if holder is first else "b"
        await until(lambda: follower.leader.leader_url() == f"http://{name}.test", "the address")
        assert not (first.leader.leads() and second.leader.leads())
        assert spec(api)["holderIdentity"] == name
        holder.task.cancel()
        await asyncio.wait([holder.task])
        assert spec(api)["holderIdentity"] != name  # nobody's, or the other's by now
        await until(follower.leader.leads, "the other to lead")


async def test_a_holder_that_cannot_reach_the_server_stops_leading(api: Cluster) -> None:
    async with replica(api, "a") as first:
        await until(first.leader.leads, "a leader")
        api.stop("api-server")
        try:
            await until(lambda: not first.leader.leads(), "it to stop")
        finally:
            api.start("api-server")
        await until(first.leader.leads, "it to lead again")
