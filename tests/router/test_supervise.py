"""Long-lived tasks: one that fails is logged, counted and started again; none is lost."""

from __future__ import annotations

import asyncio
import logging

import pytest
from cardan_router.supervise import Supervisor

from tests.fakes.waiting import until


async def test_a_task_that_fails_is_started_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cardan_router.supervise.FIRST_BACKOFF_S", 0.001)
    restarts: list[str] = []
    runs = 0

    async def fails_twice() -> None:
        nonlocal runs
        runs += 1
        if runs <= 2:
            raise RuntimeError("no luck")
        await asyncio.sleep(3600)

    supervisor = Supervisor(restarts.append)
    with caplog.at_level(logging.ERROR):
        supervisor.spawn("unlucky", fails_twice)
        await until(lambda: runs == 3)
    assert restarts == ["unlucky", "unlucky"]
    assert caplog.text.count("task unlucky failed") == 2
    assert "no luck" in caplog.text
    assert supervisor.names == ["unlucky"]
    await supervisor.close()


async def test_a_task_that_returns_is_done() -> None:
    supervisor = Supervisor(lambda _: None)

    async def quick() -> None:
        return

    supervisor.spawn("quick", quick)
    await until(lambda: not supervisor.names)


async def test_closing_cancels_and_waits() -> None:
    ended = asyncio.Event()
    begun = asyncio.Event()

    async def long() -> None:
        try:
            begun.set()
            await asyncio.sleep(3600)
        finally:
            ended.set()

    supervisor = Supervisor(lambda _: None)
    supervisor.spawn("long", long)
    await begun.wait()
    await supervisor.close()
    assert ended.is_set()
    assert supervisor.names == []


async def test_two_tasks_cannot_have_one_name() -> None:
    supervisor = Supervisor(lambda _: None)
    supervisor.spawn("one", lambda: asyncio.sleep(3600))
    with pytest.raises(RuntimeError, match="one"):
        supervisor.spawn("one", lambda: asyncio.sleep(3600))
    await supervisor.close()
