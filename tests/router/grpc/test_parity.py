"""The same prompts over HTTP and over gRPC reach the same endpoints with the same receipts.

Two gateways that share nothing stand before the same engines; one is asked over HTTP, the other
over gRPC. Their clocks stand still, so that what they predict does not depend on how fast the test
runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest
from cardan.instants import Monotonic
from cardan.policies import policy_named
from cardan_router.grpc import requests
from cardan_router.http.server import HttpServer, openai_routes
from cardan_router.pb.cardan.v1 import inference_pb2, prompt_pb2

from tests.fakes.waiting import until
from tests.router.grpc.door import MODEL, Door, chat, door
from tests.router.grpc.engine import Engine, engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

LONG = " ".join(f"word{i}" for i in range(900))  # three full blocks and a tail
PATHS = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}


def prompts() -> list[inference_pb2.GenerateRequest]:
    """Prompts that share prefixes, differ, repeat, and use every form."""
    texts = ["hello", LONG, LONG + " and more", "x" + LONG, LONG, "hello", LONG + " and less"]
    chats = [chat(text) for text in texts]
    tool = prompt_pb2.Tool(name="f", parameters='{"type":"object","properties":{"b":{},"a":{}}}')
    chats[2].chat.tools.append(tool)
    chats[3].extra.update({"cache_salt": "s", "top_k": 5})
    image = prompt_pb2.ImageUrl(url="data:image/png;base64,AAAA")
    chats[5].chat.messages.add(role="user").parts.extend(
        [prompt_pb2.ContentPart(text=LONG), prompt_pb2.ContentPart(image_url=image)]
    )
    ids = prompt_pb2.TokenIds(ids=range(2000))
    return [
        *chats,
        inference_pb2.GenerateRequest(model=MODEL, text=LONG),
        inference_pb2.GenerateRequest(model=MODEL, token_ids=ids),
        inference_pb2.GenerateRequest(model=MODEL, token_ids=ids),
    ]


@contextlib.asynccontextmanager
async def http_of(gate: Door) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the gateway whose gRPC door is `gate`."""
    server = HttpServer(gate.gateway, openai_routes(gate.gateway))
    await server.start("127.0.0.1", 0)
    host, port = server.addresses[0]
    try:
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            yield client
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def three_engines() -> AsyncIterator[list[Engine]]:
    """Three engines."""
    async with engine() as one, engine() as two, engine() as three:
        yield [one, two, three]


async def over_http(client: httpx.AsyncClient, path: str, body: object, name: str) -> Any:
    """The receipt of a request over HTTP."""
    headers = {
        "x-cardan-explain": "1",
        "x-request-id": name,
        "x-session-id": name[-1],
        "content-type": "application/json",
    }
    answer = await client.post(path, content=orjson.dumps(body), headers=headers)
    assert answer.status_code == 200, answer.text
    return orjson.loads(answer.headers["x-cardan-explain"])


async def over_grpc(call: Any, request: Message, name: str) -> Any:
    """The receipt of a request over gRPC."""
    metadata = (("x-cardan-explain", "1"), ("x-request-id", name), ("x-session-id", name[-1]))
    made = call(request, metadata=metadata)
    if hasattr(made, "__aiter__"):
        assert [piece async for piece in made]
    else:
        await made
    return orjson.loads(dict(await made.initial_metadata())["x-cardan-explain"])


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("policy", ["dualmap", "session-hash", "cache-aware", "round-robin"])
async def test_the_same_prompts_have_the_same_receipts(policy: str, *, stream: bool) -> None:
    clock = Monotonic(1000.0)
    async with three_engines() as engines:
        urls = [one.url for one in engines]
        options: dict[str, Any] = {"policy": policy_named(policy), "clock": lambda: clock}
        async with (
            door(urls, **options) as first,
            http_of(first) as client,
            door(urls, **options) as second,
        ):
            cached = 0
            for i, request in enumerate(prompts()):
                api, body = requests.generate(request, stream=stream)
                expected = await over_http(client, PATHS[api], body, f"r{i}")
                call = second.inference.Generate if stream else second.inference.GenerateUnary
                assert await over_grpc(call, request, f"r{i}") == expected
                cached += expected["predicted_cached_tokens"]
                sent = [ask for one in engines for ask in one.asks]
                sent = [ask for ask in sent if ask.headers["x-request-id"] == f"r{i}"]
                assert len(sent) == 2
                assert sent[0].body == sent[1].body
            assert cached > 0 or policy != "dualmap"


async def test_embeddings_too() -> None:
    clock = Monotonic(1000.0)
    async with three_engines() as engines:
        urls = [one.url for one in engines]
        options: dict[str, Any] = {"policy": policy_named("dualmap"), "clock": lambda: clock}
        async with (
            door(urls, **options) as first,
            http_of(first) as client,
            door(urls, **options) as second,
        ):
            for i, texts in enumerate((["a"], ["a", LONG], [LONG])):
                inputs = [inference_pb2.EmbedInput(text=text) for text in texts]
                request = inference_pb2.EmbedRequest(model=MODEL, inputs=inputs)
                _, body = requests.embed(request)
                expected = await over_http(client, "/v1/embeddings", body, f"r{i}")
                assert await over_grpc(second.inference.Embed, request, f"r{i}") == expected


async def test_both_doors_of_one_gateway_count_as_one() -> None:
    async with (
        engine() as one,
        engine() as two,
        door([one.url, two.url]) as gate,
        http_of(gate) as client,
    ):
        one.go_on.clear()
        held = asyncio.ensure_future(gate.inference.GenerateUnary(chat()))
        await until(lambda: one.running)
        body = {"model": MODEL, "messages": [{"role": "user", "content": "a"}]}
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200
        loads = [state.load.in_flight for state in gate.gateway.fleet.endpoints.values()]
        assert loads == [1, 0]
        assert len(two.asks) == 1
        one.go_on.set()
        await held
