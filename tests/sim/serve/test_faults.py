"""Faults on demand strike as described, and are taken back."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.fakes.waiting import soon
from tests.sim.serve.servers import running
from tests.sim.serve.wire import ask, connect, get, post

TEXT = "/v1/completions"
BODY: dict[str, Any] = {"prompt": "one two three", "max_tokens": 10}


async def inflict(url: str, **faults: Any) -> None:
    """Replace all faults."""
    answer = await ask(url, "PUT", "/faults", faults)
    assert answer.status == 200, answer.body


async def test_latency_delays_work_only() -> None:
    async with running() as server:
        await inflict(server.url, latency_s=0.2)
        began = time.monotonic()
        assert (await get(server.url, "/health")).status == 200
        assert (await post(server.url, TEXT, BODY)).status == 200
        assert time.monotonic() - began >= 0.2


async def test_errors_at_a_rate() -> None:
    async with running() as server:
        await inflict(server.url, error_rate=0.5, error_status=502)
        statuses = [(await post(server.url, TEXT, BODY)).status for _ in range(30)]
        assert set(statuses) == {200, 502}
        await inflict(server.url, error_rate=1.0)
        answer = await post(server.url, TEXT, BODY)
        assert (answer.status, answer.json["error"]["code"]) == (503, 503)
        await ask(server.url, "DELETE", "/faults")
        assert (await post(server.url, TEXT, BODY)).status == 200


async def test_a_hanging_engine_reads_and_never_answers() -> None:
    async with running() as server:
        await inflict(server.url, hang=True)
        async with connect(server.url) as wire:
            await wire.send("POST", TEXT, BODY)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(wire.head(), 0.2)
        assert (await get(server.url, "/health")).status == 200


async def test_a_stream_is_reset_after_some_tokens() -> None:
    async with running() as server:
        await inflict(server.url, cut_after_tokens=3)
        async with connect(server.url) as wire:
            await wire.send("POST", TEXT, BODY | {"stream": True})
            await wire.head()
            for _ in range(3):
                assert (await wire.chunk()).startswith(b"data: ")
            with pytest.raises((ConnectionResetError, ValueError)):
                await wire.chunk()
        assert server.context.records.last[-1].outcome == "error"


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ({"close_before_head": True}, b""),
        ({"broken_head": True}, b"HTP/1.1 2OO"),
    ],
)
async def test_a_connection_that_ends_without_an_answer(
    fault: dict[str, bool], seen: bytes
) -> None:
    async with running() as server:
        await inflict(server.url, **fault)
        async with connect(server.url) as wire:
            await wire.send("POST", TEXT, BODY)
            assert (await soon(wire.reader.read())).startswith(seen)
            assert wire.reader.at_eof()


async def test_a_connection_that_is_reset_without_an_answer() -> None:
    async with running() as server:
        await inflict(server.url, reset_before_head=True)
        async with connect(server.url) as wire:
            await wire.send("POST", TEXT, BODY)
            with pytest.raises(ConnectionResetError):
                await soon(wire.reader.read())


async def test_health_can_fail_and_hang() -> None:
    async with running() as server:
        await inflict(server.url, health_status=503)
        assert (await get(server.url, "/health")).status == 503
        assert (await post(server.url, TEXT, BODY)).status == 200
        await inflict(server.url, hang_health=True)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(get(server.url, "/health"), 0.2)


async def test_metrics_can_lie_and_stand_still_and_be_missing() -> None:
    async with running() as server, connect(server.url) as busy:
        await busy.send("POST", TEXT, BODY | {"max_tokens": 30_000, "stream": True})
        await busy.head()
        await busy.chunk()
        line = b'num_requests_running{engine="0",model_name="tiny-llama"} '
        assert line + b"1.0" in (await get(server.url, "/metrics")).body
        await inflict(server.url, metrics="wrong")
        assert line + b"0.0" in (await get(server.url, "/metrics")).body
        await inflict(server.url, metrics="stale")
        first = (await get(server.url, "/metrics")).body
        await busy.chunk()
        assert (await get(server.url, "/metrics")).body == first
        for fault, status in (("missing", 404), ("error", 500), ("garbage", 200)):
            await inflict(server.url, metrics=fault)
            assert (await get(server.url, "/metrics")).status == status
        await inflict(server.url, metrics="hang")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(get(server.url, "/metrics"), 0.2)


async def test_a_slow_prefill_shows_in_the_time_to_the_first_token() -> None:
    async with running() as server:
        await inflict(server.url, prefill_factor=100.0)
        began = time.monotonic()
        await post(server.url, TEXT, {"prompt": list(range(1000)), "max_tokens": 1})
        assert time.monotonic() - began > 0.5


async def test_post_changes_one_fault_and_put_all() -> None:
    async with running() as server:
        await inflict(server.url, latency_s=0.01, hang_health=True)
        await ask(server.url, "POST", "/faults", {"latency_s": 0.02})
        shown = (await get(server.url, "/faults")).json
        assert (shown["latency_s"], shown["hang_health"]) == (0.02, True)
        await inflict(server.url, latency_s=0.03)
        assert (await get(server.url, "/faults")).json["hang_health"] is False


@pytest.mark.parametrize(
    "body", [{"latency": 1}, {"error_rate": 2}, {"metrics": "purple"}, [1], {"error_status": 200}]
)
async def test_an_unknown_fault_is_refused_with_its_name(body: Any) -> None:
    async with running() as server:
        answer = await ask(server.url, "PUT", "/faults", body)
        assert answer.status == 400
        assert (await get(server.url, "/faults")).json["latency_s"] == 0.0
