"""Everything beside generation: probes, load, administration, keys, vectors, tokens."""

from __future__ import annotations

import base64
import time
from array import array
from typing import Any

import pytest

from tests.fakes.waiting import until
from tests.sim.serve.servers import running
from tests.sim.serve.wire import ask, connect, get, post

TEXT = "/v1/completions"

ADMIN = {
    "vllm": [
        ("POST", "/sleep"),
        ("POST", "/wake_up"),
        ("GET", "/is_sleeping"),
        ("POST", "/reset_prefix_cache"),
        ("GET", "/server_info"),
        ("POST", "/collective_rpc"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("GET", "/is_paused"),
        ("POST", "/scale_elastic_ep"),
    ],
    "sglang": [
        ("POST", "/flush_cache"),
        ("GET", "/flush_cache"),
        ("GET", "/server_info"),
        ("GET", "/get_server_info"),
        ("POST", "/pause_generation"),
        ("POST", "/continue_generation"),
        ("POST", "/open_session"),
        ("POST", "/close_session"),
        ("POST", "/release_memory_occupation"),
        ("POST", "/resume_memory_occupation"),
        ("POST", "/slow_down"),
    ],
}


@pytest.mark.parametrize("make", ["vllm", "sglang"])
async def test_administration_answers_anyone_who_reaches_it(make: str) -> None:
    async with running(make=make) as server:
        for method, path in ADMIN[make]:
            assert (await ask(server.url, method, path)).status == 200, path


async def test_a_cache_reset_forgets() -> None:
    for make, path in (("vllm", "/reset_prefix_cache"), ("sglang", "/flush_cache")):
        async with running(make=make) as server:
            await post(server.url, TEXT, {"prompt": [5] * 100, "max_tokens": 1})
            assert server.context.engine.cache.idle > 0
            await ask(server.url, "POST", path)
            assert server.context.engine.cache.idle == 0


async def test_sglang_aborts_by_rid() -> None:
    async with running(make="sglang") as server, connect(server.url) as wire:
        body = {"prompt": "x", "max_tokens": 30_000, "stream": True, "rid": "r-1"}
        await wire.send("POST", TEXT, body)
        head = await wire.head()
        await wire.chunk()
        assert (await post(server.url, "/abort_request", {"rid": "r-1"})).status == 200
        events = (await wire.rest(head)).events
    assert events[-2][1]["choices"][0]["finish_reason"] == "abort"
    assert events[-1][1] == "[DONE]"


async def test_vllm_aborts_by_id_where_scale_out_is_on() -> None:
    path = "/inference/v1/abort_requests"
    async with running(scale_out=True) as server, connect(server.url) as wire:
        body = {"prompt": "x", "max_tokens": 30_000, "stream": True}
        await wire.send("POST", TEXT, body, {"X-Request-Id": "a"})
        head = await wire.head()
        await wire.chunk()
        assert (await post(server.url, path, {"request_ids": ["cmpl-a"]})).status == 200
        events = (await wire.rest(head)).events
    assert events[-2][1]["choices"][0]["finish_reason"] == "abort"


async def test_sglangs_health_takes_a_second_and_its_readiness_does_not() -> None:
    async with running(make="sglang") as server:
        began = time.monotonic()
        assert (await get(server.url, "/ready")).status == 503 or server.context.ready
        await until(lambda: server.context.ready, "readiness")
        assert (await get(server.url, "/ready")).status == 200
        assert (await get(server.url, "/health")).status == 200
        assert time.monotonic() - began >= 1.0


async def test_a_starting_sglang_serves_its_models_and_is_not_ready() -> None:
    async with running(make="sglang", startup_delay_s=60.0) as server:
        assert (await get(server.url, "/ready")).status == 503
        assert (await get(server.url, "/health")).status == 503
        assert (await get(server.url, "/v1/models")).status == 200


async def test_the_load_endpoints_count_what_is_there() -> None:
    async with (
        running(max_num_seqs=1) as server,
        connect(server.url) as a,
        connect(server.url) as b,
    ):
        for wire in (a, b):
            await wire.send("POST", TEXT, {"prompt": "x", "max_tokens": 30_000, "stream": True})
        await until(lambda: server.context.engine.waiting == 1, "the queue")
        assert (await get(server.url, "/load")).json == {"server_load": 2}
        state = (await get(server.url, "/sim/state")).json
        assert (state["running"], state["waiting"]) == (1, 1)


async def test_sglangs_loads_are_blind_during_the_first_prefill() -> None:
    async with running(make="sglang", time_scale=50.0) as server, connect(server.url) as wire:
        prompt = [7] * 30_000
        await wire.send("POST", TEXT, {"prompt": prompt, "max_tokens": 4, "stream": True})
        await until(lambda: server.context.engine.running == 1, "the prefill")
        load = (await get(server.url, "/v1/loads")).json["loads"][0]
        assert (load["num_running_reqs"], load["num_waiting_reqs"]) == (0, 0)


@pytest.mark.parametrize("make", ["vllm", "sglang"])
async def test_the_key_guards_what_the_make_guards(make: str) -> None:
    open_paths = {
        "vllm": ["/health", "/metrics", "/version", "/load", "/sim/state", "/faults"],
        "sglang": ["/ready", "/metrics", "/sim/state", "/faults"],
    }[make]
    async with running(make=make, api_key="k") as server:
        await until(lambda: server.context.ready, "readiness")
        for path in open_paths:
            assert (await get(server.url, path)).status == 200, path
        for key in ("", "Bearer wrong", "Basic k", "Bearer"):
            answer = await ask(server.url, "GET", "/v1/models", headers={"Authorization": key})
            assert (answer.status, answer.json) == (401, {"error": "Unauthorized"})
        answer = await ask(server.url, "GET", "/v1/models", headers={"Authorization": "Bearer k"})
        assert answer.status == 200
        tokens = await post(server.url, "/tokenize", {"prompt": "x"})
        assert tokens.status == (200 if make == "vllm" else 401)


async def test_vectors_are_stable_and_alike_for_like_texts() -> None:
    async with running() as server:
        texts = ["the red fox runs", "the red fox sits", "zzzz yyyy xxxx wwww"]
        body: dict[str, Any] = {"input": texts, "model": "tiny-llama"}
        floats = (await post(server.url, "/v1/embeddings", body)).json
        coded = (
            await post(server.url, "/v1/embeddings", body | {"encoding_format": "base64"})
        ).json
        short = (await post(server.url, "/v1/embeddings", body | {"dimensions": 8})).json
    vectors = [item["embedding"] for item in floats["data"]]
    near = sum(a * b for a, b in zip(vectors[0], vectors[1], strict=True))
    far = sum(a * b for a, b in zip(vectors[0], vectors[2], strict=True))
    assert near > far
    assert sum(a * a for a in vectors[0]) == pytest.approx(1.0)
    assert list(array("f", base64.b64decode(coded["data"][0]["embedding"]))) == pytest.approx(
        vectors[0]
    )
    assert len(short["data"][0]["embedding"]) == 8
    assert floats["usage"]["prompt_tokens"] > 0


async def test_documents_are_ranked_by_what_they_share_with_the_query() -> None:
    body = {
        "query": "the red fox runs",
        "documents": ["nothing at all here", "the red fox sits", "unrelated words"],
        "top_n": 2,
    }
    async with running() as server:
        for path in ("/rerank", "/v1/rerank"):
            results = (await post(server.url, path, body)).json["results"]
            assert [len(results), results[0]["index"]] == [2, 1]
            assert results[0]["relevance_score"] > results[1]["relevance_score"]
        pair = {"text_1": "the red fox", "text_2": ["the red fox", "other words"]}
        scores = (await post(server.url, "/v1/score", pair)).json["data"]
        assert scores[0]["score"] == pytest.approx(1.0)
        assert scores[1]["score"] < 0.9


async def test_vectors_wait_for_their_prefill_like_any_other_work() -> None:
    async with running() as server:
        began = time.monotonic()
        await post(server.url, "/v1/embeddings", {"input": [list(range(2000)) * 10]})
        assert time.monotonic() - began > 0.3
        assert server.context.engine.stats.prompt_computed == 20_000


@pytest.mark.parametrize("make", ["vllm", "sglang"])
async def test_tokens_are_counted_alike_everywhere(make: str) -> None:
    messages = [{"role": "user", "content": "hello there"}]
    async with running(make=make) as server:
        counted = (await post(server.url, "/tokenize", {"messages": messages})).json["count"]
        chat = {"messages": messages, "max_tokens": 1}
        usage = (await post(server.url, "/v1/chat/completions", chat)).json["usage"]
        ids = (await post(server.url, "/tokenize", {"prompt": " the and"})).json["tokens"]
        back = (await post(server.url, "/detokenize", {"tokens": ids})).json
    assert counted == usage["prompt_tokens"]
    assert list(back.values()) == [" the and"]


async def test_an_embedding_model_does_not_generate() -> None:
    async with running(task="embed") as server:
        assert (await post(server.url, TEXT, {"prompt": "x"})).status == 404
        assert (await post(server.url, "/v1/embeddings", {"input": "x"})).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": {"a": 1}},
        {"prompt": [1, "x"]},
        {"prompt": "x", "max_tokens": "many"},
        {"prompt": "x", "n": True},
        {"prompt": "x", "stream_options": 7},
        {"prompt": "x", "model": 7},
        {"prompt": [-1]},
    ],
)
@pytest.mark.parametrize("make", ["vllm", "sglang"])
async def test_nonsense_is_400_and_never_500(make: str, body: dict[str, Any]) -> None:
    async with running(make=make) as server:
        assert (await post(server.url, TEXT, body)).status == 400


@pytest.mark.parametrize("make", ["vllm", "sglang"])
@pytest.mark.parametrize(
    "messages",
    [
        "hello",
        [7],
        [{"role": "user", "content": 7}],
        [{"role": "user", "content": [7]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
    ],
)
async def test_odd_messages_are_400_and_never_500(make: str, messages: Any) -> None:
    async with running(make=make) as server:
        answer = await post(server.url, "/v1/chat/completions", {"messages": messages})
        assert answer.status == 400, answer.body
