"""A model that sleeps, from the outside: a gateway's process, an API server with an overlay, the
operator's port, and an engine that is started when the push has come.
"""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest
from cardan_router.pb.cardan.v1 import routing_pb2, routing_pb2_grpc

from tests.fakes.client import connect
from tests.fakes.kube import FakeKube, fake_kube
from tests.fakes.operator import Replica, replicas
from tests.fakes.ports import held_port
from tests.fakes.waiting import DEADLINE_S
from tests.router.asking import MODEL, get_state, metric, status
from tests.router.discovery.test_overlays import PATH, overlay
from tests.system.processes import get_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.system.processes import Child, Processes

pytestmark = pytest.mark.slow

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
HELD = rf'cardan_held_requests\{{model="{MODEL}"\}}'


class Night(NamedTuple):
    """A gateway whose only model sleeps; `port` is where its engine will be."""

    kube: FakeKube
    operator: Replica
    gateway: Child
    port: int

    def put(self, **dormant: Any) -> None:
        """The operator says how requests are held."""
        part = {"dormant": {"wakeUrl": self.operator.url, **dormant}}
        self.kube.state(PATH).put(overlay("fleet", {MODEL: part}))
        self.kube.flush()

    async def held(self, count: int) -> None:
        """Wait until so many are held."""
        await becomes(lambda: metric(self.gateway.url, HELD) == count, f"{count} to be held")


async def becomes(condition: Callable[[], object], what: str) -> None:
    """Wait for something that blocks while it looks; the API server must answer meanwhile."""
    loop = asyncio.get_running_loop()
    end = loop.time() + DEADLINE_S
    while not await asyncio.to_thread(condition):
        assert loop.time() < end, f"waited in vain for {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def night(procs: Processes, folder: Path, **dormant: Any) -> AsyncIterator[Night]:
    """A gateway that knows of the sleep, and is ready all the same."""
    async with fake_kube() as kube, replicas() as (operator,):
        with held_port() as port:
            gateway = procs.start(
                "router",
                *("router", "--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0"),
                *("--endpoint", f"http://127.0.0.1:{port}"),
                *("--discovery-kubernetes-kind", "pods"),
                *("--discovery-kubernetes-selector", "app=vllm"),
                *("--set", "admission.max_in_flight_per_endpoint=1"),
                *("--discovery-kubernetes-kubeconfig", str(kube.kubeconfig(folder))),
            )
            await asyncio.to_thread(lambda: gateway.url)
            made = Night(kube, operator, gateway, port)
            made.put(**dormant)
            await becomes(lambda: status(f"{gateway.url}/readyz") == 200, "it to be ready")
            yield made


def ask(url: str, name: str = "") -> tuple[int, dict[str, str], Any]:
    """One chat: status, headers, body."""
    headers = {"content-type": "application/json", "x-request-id": name}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(CHAT).encode(), headers
    )
    try:
        with urllib.request.urlopen(request, timeout=2 * DEADLINE_S) as answer:
            return answer.status, dict(answer.headers), json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), json.load(error)


async def test_a_request_for_a_model_that_sleeps_wakes_it_and_is_served(
    procs: Processes, tmp_path: Path
) -> None:
    async with night(procs, tmp_path) as one:
        url = one.gateway.url
        models = await asyncio.to_thread(get_json, f"{url}/v1/models")
        assert [entry["id"] for entry in models["data"]] == [MODEL]
        state = await asyncio.to_thread(get_state, url)
        assert state["overlay"] == f"{MODEL}: sleeps"
        asked = []
        for number in range(4):
            asked.append(asyncio.create_task(asyncio.to_thread(ask, url, f"r{number}")))
            await one.held(number + 1)
        stub = routing_pb2_grpc.RoutingStub
        async with grpc.aio.insecure_channel(one.gateway.grpc_target) as channel:
            body = json.dumps(CHAT).encode()
            http = routing_pb2.HttpRequest(path="/v1/chat/completions", body=body)
            route = stub(channel).Route(routing_pb2.RouteRequest(http=http), timeout=60)
            routed = asyncio.ensure_future(_result(route))
            await one.held(5)
            await becomes(lambda: one.operator.note("ns", MODEL), "the push")
            engine = ("--listen", f"127.0.0.1:{one.port}", "--model", MODEL)
            procs.start("engine", "engine", *engine, "--time-scale", "0.1")
            answers = await asyncio.gather(*asked)
            assert (await routed).target.url == f"http://127.0.0.1:{one.port}"
        assert [code for code, _, _ in answers] == [200] * 4
        await one.held(0)
        rows = (await asyncio.to_thread(get_state, url))["receipts"]
        order = [row["request_id"] for row in reversed(rows)]
        assert order == ["r0", "r1", "r2", "r3"], "in the order in which they came"
        one.kube.state(PATH).delete("fleet")
        one.kube.flush()
        await becomes(lambda: not get_state(url)["overlay"], "the overlay to be over")


async def _result(call: Any) -> routing_pb2.RouteResponse:
    response: routing_pb2.RouteResponse = await call
    return response


async def test_more_than_may_wait_get_a_503_that_says_when_to_come_again(
    procs: Processes, tmp_path: Path
) -> None:
    async with night(procs, tmp_path, holdRequests=1, holdSeconds=3) as one:
        url = one.gateway.url
        first = asyncio.create_task(asyncio.to_thread(ask, url))
        await one.held(1)
        code, headers, body = await asyncio.to_thread(ask, url)
        assert (code, headers["retry-after"]) == (503, "10")
        assert body["error"]["code"] == "no_endpoint"
        assert "no more requests may wait" in body["error"]["message"]
        code, headers, body = await first
        assert (code, headers["retry-after"]) == (503, "10")
        assert "has not woken up in time" in body["error"]["message"]
        shed = rf'cardan_requests_total\{{api="chat",model="{MODEL}",outcome="shed"\}}'
        assert metric(url, shed) == 2, "under the model's own name"


async def test_a_client_that_leaves_leaves_the_queue(procs: Processes, tmp_path: Path) -> None:
    async with night(procs, tmp_path, holdRequests=1) as one:
        body = json.dumps(CHAT).encode()
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % len(body)
        )
        for _ in range(2):  # the second one takes the first one's place
            async with connect(int(one.gateway.url.rpartition(":")[2])) as client:
                await client.send(head + body)
                await one.held(1)
            await one.held(0)
