"""Headers that pass and headers that do not; keys, request ids, receipts, CORS."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from cardan.policies import DualMap
from cardan_router.keys import read_keys
from cardan_router.limits import HttpConfig, UpstreamConfig

from tests.fakes.client import chat, connect, get, post
from tests.fakes.engine import Seen, Step, engines, plain
from tests.fakes.gateway import serving

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cardan_router.keys import KeyRing

STRIPPED = (
    "authorization: Bearer client-key",
    "x-api-key: client-key",
    "cookie: a=b",
    "x-data-parallel-rank: 3",
    "X-Vllm-Priority: -100",
    "x-override-rid: 7",
    "X-SMG-Target-Worker: 1",
    "x-kv-cache-source-host-port: 10.0.0.1:5710",
    "endpoint-load-metrics-format: TEXT",
    "x-http-method-override: DELETE",
    "accept-encoding: gzip",
    "te: trailers",
    "keep-alive: timeout=5",
    "upgrade: h2c",
    "proxy-authorization: Basic x",
    "x-cardan-priority: 5",
    "x-slo-ttft-ms: 900",
)


async def test_what_would_steer_an_engine_is_not_passed_on() -> None:
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(post(chat(), headers=STRIPPED))
        assert (await client.reply()).status == 200
        names = {name for name, _ in engine.requests[0].headers}
        assert names == {"host", "content-type", "content-length", "x-request-id"}


async def test_other_headers_are_passed_on_as_they_are() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    extra = (f"traceparent: {trace}", "tracestate: a=1", "X-Tenant-Hint: Blue", "x-session-id: s1")
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(post(chat(), headers=extra))
        await client.reply()
        seen = engine.requests[0]
        assert seen.header("traceparent") == trace
        assert seen.header("tracestate") == "a=1"
        assert seen.header("x-tenant-hint") == "Blue"
        assert seen.header("host") == engine.url.removeprefix("http://")
        view = served.journal.flights[0].call.view
        assert view.session == "s1"


async def test_headers_that_connection_nominates_stay_on_this_connection() -> None:
    lines = ("connection: keep-alive, X-Hop, x-request-id", "x-hop: 1", "x-end: 2")
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(post(chat(), headers=lines))
        await client.reply()
        seen = engine.requests[0]
        assert seen.header("x-hop") is None
        assert seen.header("x-end") == "2"
        assert seen.header("x-request-id")


@pytest.mark.parametrize("end", ["\x85", "\xa0", "\xff", "\t", "\xe2\x80\xa8"])
async def test_no_byte_of_a_value_ends_its_line(end: str) -> None:
    """Unicode knows more line ends than HTTP does."""
    lines = ("connection: x-hop", f"x-a: abc{end}x-hop: 1", "x-end: 2")
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        for _ in range(2):
            await client.send(post(chat(), headers=lines))
            assert (await client.reply()).status == 200
        for seen in engine.requests:
            assert seen.header("x-a") == f"abc{end}x-hop: 1"
            assert seen.header("x-end") == "2"
            assert seen.json == chat()


async def test_nothing_of_an_answer_names_its_engine() -> None:
    def script(seen: Seen) -> Iterable[Step]:
        host = seen.header("host")
        yield (
            f"HTTP/1.1 200 OK\r\nserver: uvicorn at {host}\r\nlocation: http://{host}/x\r\n"
            f"via: 1.1 {host}\r\nset-cookie: pod={host}\r\nx-envoy-upstream: {host}\r\n"
            f"connection: keep-alive\r\nkeep-alive: timeout=5\r\nx-model-note: kept\r\n"
            f"content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        ).encode()

    async with (
        engines(1, script) as (engine,),
        serving([engine], policy=DualMap()) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat(), headers=("x-cardan-explain: 1",)))
        reply = await client.reply()
        assert str(engine.port) not in str(reply.headers)
        assert reply.header("x-model-note") == "kept"
        receipt = json.loads(reply.header("x-cardan-explain") or "")
        assert receipt["endpoint"].startswith("endpoint-")
        assert receipt["reason"] == "only"
        assert receipt["attempts"] == 1
        assert receipt["candidates"][0]["endpoint"] == receipt["endpoint"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("my-own-id-17", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("ü", False)],
)
async def test_a_request_id_is_kept_if_it_is_harmless_and_made_otherwise(
    given: str, kept: bool
) -> None:
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(post(chat(), headers=(f"x-request-id: {given}",)))
        reply = await client.reply()
        assert (reply.header("x-request-id") == given) is kept
        assert reply.header("x-request-id") == engine.requests[0].header("x-request-id")


async def test_request_ids_are_all_different() -> None:
    async with engines(1) as fleet, serving(fleet) as served, connect(served.port) as client:
        seen = set()
        for _ in range(20):
            await client.send(get("/v1/models"))
            seen.add((await client.reply()).header("x-request-id"))
        assert len(seen) == 20


def key_ring(tmp_path: Path) -> KeyRing:
    """One tenant, `blue`, whose key is `sk-blue-0123456789`."""
    path = tmp_path / "keys"
    path.write_text(f"blue:{hashlib.sha256(b'sk-blue-0123456789').hexdigest()} priority=7\n")
    return read_keys(path)


async def test_keys_are_asked_for_in_either_form(tmp_path: Path) -> None:
    async with (
        engines(1) as (engine,),
        serving([engine], keys=key_ring(tmp_path)) as served,
        connect(served.port) as client,
    ):
        for line in ("authorization: Bearer sk-blue-0123456789", "x-api-key: sk-blue-0123456789"):
            await client.send(post(chat(), headers=(line,)))
            assert (await client.reply()).status == 200
        view = served.journal.flights[0].call.view
        assert (view.tenant, view.priority) == ("blue", 7)
        for line in ("authorization: Bearer nope", "authorization: Basic x", "x-a: b"):
            await client.send(post(chat(), headers=(line,)))
            reply = await client.reply()
            assert (reply.status, reply.json["error"]["code"]) == (401, "invalid_api_key")
            assert reply.header("www-authenticate") == "Bearer"
        await client.send(get("/v1/models"))
        assert (await client.reply()).status == 401
        assert len(engine.requests) == 2


async def test_a_wrong_key_is_refused_before_its_body_is_read(tmp_path: Path) -> None:
    async with (
        engines(1) as fleet,
        serving(fleet, keys=key_ring(tmp_path)) as served,
        connect(served.port) as client,
    ):
        await client.send(post(b"x" * 1000)[:-1000])
        reply = await client.reply()
        assert (reply.status, reply.header("connection")) == (401, "close")


@pytest.mark.parametrize(
    ("config", "passed"),
    [
        (UpstreamConfig(api_key="engine-key"), "Bearer engine-key"),
        (UpstreamConfig(pass_authorization=True), "Bearer client-key"),
    ],
)
async def test_engines_get_their_own_key_and_the_clients_only_where_that_is_wanted(
    config: UpstreamConfig, passed: str
) -> None:
    async with (
        engines(1) as (engine,),
        serving([engine], upstream=config) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat(), headers=("authorization: Bearer client-key",)))
        await client.reply()
        assert engine.requests[0].header("authorization") == passed


async def test_promises_and_deadlines_are_read_and_wrong_ones_told() -> None:
    async with engines(1) as fleet, serving(fleet) as served, connect(served.port) as client:
        lines = ("x-slo-ttft-ms: 750", "x-request-timeout-ms: 30000", "x-cardan-priority: -3")
        await client.send(post(chat(max_tokens=9), headers=lines))
        assert (await client.reply()).status == 200
        view = served.journal.flights[0].call.view
        assert (view.slo_ttft_s, view.priority, view.max_tokens) == (0.75, -3, 9)
        assert view.deadline_at == pytest.approx(view.arrived_at + 30)
        for wrong in ("x-slo-ttft-ms: soon", "x-request-timeout-ms: -1", "x-cardan-priority: 1000"):
            await client.send(post(chat(), headers=(wrong,)))
            reply = await client.reply()
            assert reply.status == 400
            assert reply.json["error"]["param"] == wrong.partition(":")[0]


async def test_browsers_are_let_in_where_their_origin_is_named() -> None:
    http = HttpConfig(cors_origins=("https://chat.example",))
    async with (
        engines(1) as fleet,
        serving(fleet, http=http) as served,
        connect(served.port) as client,
    ):
        preflight = (
            "origin: https://chat.example",
            "access-control-request-method: POST",
            "access-control-request-headers: authorization, content-type",
        )
        await client.send(get("/v1/chat/completions", preflight, method="OPTIONS"))
        reply = await client.reply()
        assert reply.status == 204
        assert reply.header("access-control-allow-origin") == "https://chat.example"
        assert reply.header("access-control-allow-headers") == "authorization, content-type"
        await client.send(post(chat(), headers=("origin: https://chat.example",)))
        reply = await client.reply()
        assert reply.header("access-control-allow-origin") == "https://chat.example"
        await client.send(post(chat(), headers=("origin: https://evil.example",)))
        assert (await client.reply()).header("access-control-allow-origin") is None


async def test_messages_errors_are_what_anthropics_client_reads() -> None:
    async with engines(1) as fleet, serving(fleet) as served, connect(served.port) as client:
        await client.send(post({"model": "other", "messages": []}, "/v1/messages"))
        reply = await client.reply()
        assert reply.status == 404
        assert reply.json["type"] == "error"
        assert reply.json["error"]["code"] == "model_not_found"


async def test_control_fields_of_the_body_are_cut_out_and_nothing_else_is_changed() -> None:
    body = (
        b'{"model": "m", "kv_transfer_params": {"remote_host": "10.0.0.1", "x": "}]"},'
        b' "messages": [{"role": "user", "content": "bootstrap_host"}],'
        b'"bootstrap\\u005froom": 7, "seed": 12345678901234567890123, "top_p": 1.0e-1}'
    )
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(post(body))
        assert (await client.reply()).status == 200
        sent = engine.requests[0].body
        assert b"kv_transfer_params" not in sent
        assert b"u005froom" not in sent
        assert b'"seed": 12345678901234567890123,"top_p": 1.0e-1' in sent
        assert engine.requests[0].json["messages"] == [
            {"role": "user", "content": "bootstrap_host"}
        ]


async def test_a_key_of_the_engines_cannot_be_guessed_from_its_errors() -> None:
    answer = plain(b'{"error": "Unauthorized"}', "401 Unauthorized")
    async with (
        engines(1, lambda _: [answer]) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat()))
        reply = await client.reply()
        assert reply.status == 502
        assert reply.json["error"]["code"] == "engine_credentials"
