"""Children say where they listen, are ended for good, and do not die in silence."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest
from cardan_sim.demo import fleet as fleet_module
from cardan_sim.demo.children import Child, ChildError, start_child
from cardan_sim.demo.setting import Setting

from tests.system.processes import START_DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

ENGINE = ["engine", "--listen=127.0.0.1:0", "--model=tiny"]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_child_tells_its_url_and_is_gone_after_its_stop() -> None:
    child = await start_child("engine-1", ENGINE)
    url = await child.url(START_DEADLINE_S)
    assert url.startswith("http://127.0.0.1:")
    assert alive(child.pid)
    await child.stop()
    assert not alive(child.pid)


async def test_a_taken_port_is_reported_with_what_the_child_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        child = await start_child("engine-1", ["engine", f"--listen=127.0.0.1:{port}"])
        with pytest.raises(ChildError, match=r"engine-1 ended with status 1(.|\n)*in use"):
            await child.url(START_DEADLINE_S)
    await child.stop()


async def test_a_child_that_dies_ends_the_wait_for_it() -> None:
    child = await start_child("engine-1", ENGINE)
    await child.url(START_DEADLINE_S)
    watching = asyncio.create_task(child.ended())
    child.kill()
    with pytest.raises(ChildError, match="engine-1 ended with status -9"):
        await watching


async def test_a_child_that_says_nothing_is_given_up() -> None:
    child = await start_child("engine-1", [*ENGINE, "--startup-delay=60"])
    with pytest.raises(ChildError, match=r"did not start within 0\.5 s"):
        await child.url(0.5)
    await child.stop()
    assert not alive(child.pid)


async def test_a_child_that_is_just_being_born_when_its_fleet_is_cancelled_is_ended_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pids: list[int] = []
    born, told = asyncio.Event(), asyncio.Event()

    async def slow_start(name: str, arguments: Sequence[str]) -> Child:
        child = await start_child(name, arguments)
        pids.append(child.pid)
        born.set()
        await told.wait()
        return child

    monkeypatch.setattr(fleet_module, "start_child", slow_start)
    fleet = fleet_module.Fleet(Setting(engines=1), "dualmap", "127.0.0.1:0")
    starting = asyncio.create_task(fleet.start())
    await born.wait()
    starting.cancel()
    asyncio.get_running_loop().call_soon(told.set)
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not alive(pids[0])
