"""What holds against simulated engines holds against real ones.

The text they write is noise: only shapes, counts and cached tokens are asserted.
"""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.error
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from e2e.engines.conftest import MODEL, post
from tests.system.load import Stream, chat, stream_chat
from tests.system.processes import get_json

if TYPE_CHECKING:
    from e2e.engines.conftest import RealFleet

pytestmark = [pytest.mark.engines, pytest.mark.timeout(120, func_only=True)]

# 6 kB of text: three full prefix blocks of 2,048 bytes.
LONG = " ".join(f"word{i}" for i in range(700))


def test_models_are_introspected(fleet: RealFleet) -> None:
    listed = get_json(fleet.router.url + "/v1/models")
    assert [model["id"] for model in listed["data"]] == [MODEL]


def test_a_chat_is_answered_and_counted(fleet: RealFleet) -> None:
    answer, _ = post(fleet.router.url + "/v1/chat/completions", chat(MODEL, "hello " * 40, 8))
    assert answer["usage"]["completion_tokens"] <= 8
    assert answer["choices"][0]["finish_reason"] in ("length", "stop")


async def streams(url: str, bodies: list[dict[str, Any]]) -> list[Stream]:
    """All bodies at once."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=120)
    ) as session:
        return await asyncio.gather(*(stream_chat(session, url, body) for body in bodies))


async def one_after_another(url: str) -> None:
    """Requests that fill no queue are all served."""
    for i in range(6):
        (stream,) = await streams(url, [chat(MODEL, f"later {i}", 8)])
        assert stream.complete


async def test_streams_complete(fleet: RealFleet) -> None:
    seen = await streams(
        fleet.router.url, [chat(MODEL, f"{i} " + "go " * 60, 24) for i in range(8)]
    )
    assert not [stream for stream in seen if not stream.complete]


def test_a_repeated_prompt_goes_to_the_same_engine_and_is_cached_there(fleet: RealFleet) -> None:
    body = chat(MODEL, LONG, 4)
    explain = {"x-cardan-explain": "1"}
    first, head1 = post(fleet.router.url + "/v1/chat/completions", body, explain)
    second, head2 = post(fleet.router.url + "/v1/chat/completions", body, explain)
    receipts = [json.loads(head["x-cardan-explain"]) for head in (head1, head2)]
    assert receipts[0]["endpoint"] == receipts[1]["endpoint"]
    chosen = next(
        candidate
        for candidate in receipts[1]["candidates"]
        if candidate["endpoint"] == receipts[1]["endpoint"]
    )
    # Tokens are estimates until a tokenizer's ratio is learned; the cached share is comparable.
    predicted = chosen["cached_tokens"] / (chosen["cached_tokens"] + chosen["uncached_tokens"])
    usage = second["usage"]
    reported = usage["prompt_tokens_details"]["cached_tokens"] / usage["prompt_tokens"]
    assert reported > 0.9
    assert abs(predicted - reported) < 0.1
    assert first["usage"]["prompt_tokens"] == usage["prompt_tokens"]


async def test_a_full_queue_is_a_503_and_never_a_broken_stream(fleet: RealFleet) -> None:
    bodies = [chat(MODEL, f"{i} fill the queue " + "x " * 50, 200) for i in range(60)]
    seen = await streams(fleet.router.url, bodies)
    refused = [stream for stream in seen if not stream.complete]
    assert refused
    assert {stream.status for stream in refused} == {503}
    assert all(not stream.events for stream in refused)


async def test_grpc_generates_and_names_the_same_endpoint(fleet: RealFleet) -> None:
    from e2e.engines.rpc import generate

    body = chat(MODEL, LONG, 4)
    _, head = post(fleet.router.url + "/v1/chat/completions", body, {"x-cardan-explain": "1"})
    over_http = json.loads(head["x-cardan-explain"])
    tokens, over_grpc = await generate(fleet.router.grpc_target, MODEL, LONG, 4)
    assert tokens > 0
    assert over_grpc["endpoint"] == over_http["endpoint"]
    assert over_grpc["key"] == over_http["key"]


# The two below end engines, so they come last.


async def test_a_draining_engine_is_left_alone_and_nothing_fails(fleet: RealFleet) -> None:
    victim = fleet.engines[0]
    if victim.kind != "sglang":
        pytest.skip("vLLM does not drain by default: it cuts its streams")
    running = asyncio.create_task(
        streams(fleet.router.url, [chat(MODEL, f"{i} " + "go " * 60, 400) for i in range(6)])
    )
    await asyncio.sleep(1.0)  # let them begin; the assertion below does not depend on it
    victim.process.send_signal(signal.SIGTERM)
    assert all(stream.complete for stream in await running)
    await one_after_another(fleet.router.url)


async def test_a_killed_engine_loses_only_streams_that_had_begun(fleet: RealFleet) -> None:
    victim = fleet.engines[0]
    running = asyncio.create_task(
        streams(fleet.router.url, [chat(MODEL, f"{i} " + "go " * 60, 400) for i in range(12)])
    )
    await asyncio.sleep(1.0)  # let some begin; the assertion below does not depend on it
    victim.stop()
    seen = await running
    assert not [stream for stream in seen if stream.lost and stream.status != 503]
    await one_after_another(fleet.router.url)


def test_the_engines_administration_is_out_of_reach(fleet: RealFleet) -> None:
    for path in ("/flush_cache", "/abort_request", "/server_info", "/get_server_info", "/pause"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(fleet.router.url + path, {})
        assert caught.value.code == 404
        caught.value.close()
