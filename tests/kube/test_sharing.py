"""Many requests on one API client: what befalls one of them is none of the others' business."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from cardan_kube import api as module
from cardan_kube.api import ApiError, KubernetesApi
from cardan_kube.reflector import Fault

from tests.fakes.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Server:
    """Answers `/slow` when told to, refuses `/401` and `/409`, drops `/drop`."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.waiting = 0

    async def answer(self, request: web.Request) -> web.Response:
        """Any request."""
        if request.path in ("/401", "/409"):
            return web.json_response({}, status=int(request.path[1:]))
        if request.path == "/drop":
            assert request.transport is not None
            request.transport.abort()
        if request.path == "/slow":
            self.waiting += 1
            await self.release.wait()
        return web.json_response({"path": request.path})


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every client that is made."""
    clients: list[Any] = []
    connect = module._connect

    async def noting(kubeconfig: str) -> object:
        await asyncio.sleep(0)  # as a plug-in would take its time
        clients.append(await connect(kubeconfig))
        return clients[-1]

    monkeypatch.setattr(module, "_connect", noting)
    return clients


@pytest.fixture
async def api(server: Server, made: list[Any], tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    path = tmp_path / "kubeconfig"
    host, port = runner.addresses[0][:2]
    path.write_text(
        f"""
clusters: [{{name: c, cluster: {{server: "http://{host}:{port}"}}}}]
users: [{{name: u, user: {{token: t}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""
    )
    one = KubernetesApi(str(path), "cardan/test")
    yield one
    await one.close()
    server.release.set()
    await runner.cleanup()
    assert not [client for client in made if is_open(client)]


def is_open(client: Any) -> bool:
    pool = client.rest_client.pool_manager
    return pool is not None and not pool.closed


async def in_the_air(api: KubernetesApi, server: Server) -> list[asyncio.Task[bytes]]:
    """Four requests that the server has and has not answered."""
    slow = [asyncio.ensure_future(api.get("/slow", {})) for _ in range(4)]
    await until(lambda: server.waiting == 4, "four requests under way")
    return slow


@pytest.mark.parametrize(
    ("path", "fault", "clients"),
    [("/drop", Fault.BROKEN, 2), ("/401", Fault.UNAUTHORIZED, 2), ("/409", Fault.CONFLICT, 1)],
)
async def test_one_that_fails_leaves_the_others_alone(
    api: KubernetesApi, server: Server, made: list[Any], path: str, fault: Fault, clients: int
) -> None:
    slow = await in_the_air(api, server)
    with pytest.raises(ApiError) as failed:
        await api.get(path, {})
    assert failed.value.fault is fault
    assert b"/next" in await api.get("/next", {})
    assert len(made) == clients
    server.release.set()
    assert all(b"/slow" in answer for answer in await asyncio.gather(*slow))


async def test_a_client_that_is_forgotten_is_closed_by_its_last_request(
    api: KubernetesApi, server: Server, made: list[Any]
) -> None:
    slow = await in_the_air(api, server)
    for _ in range(2):
        with pytest.raises(ApiError):
            await api.get("/401", {})
    first, second = made
    assert (is_open(first), is_open(second)) == (True, False)
    slow.pop().cancel()
    server.release.set()
    await asyncio.gather(*slow)
    assert not is_open(first)


async def test_closing_lets_what_is_in_the_air_end(
    api: KubernetesApi, server: Server, made: list[Any]
) -> None:
    slow = await in_the_air(api, server)
    await api.close()
    server.release.set()
    await asyncio.gather(*slow)
    assert not is_open(made[0])


async def test_first_requests_that_come_together_make_one_client(
    api: KubernetesApi, made: list[Any]
) -> None:
    await asyncio.gather(*(api.get(f"/{n}", {}) for n in range(5)))
    assert len(made) == 1
