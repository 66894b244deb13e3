"""What a client sees of an answer: when heads leave, ids, choices, tools, usage, caches."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.sim.serve.servers import running
from tests.sim.serve.wire import Answer, connect, post

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}


def chat(text: str = "hello there", **rest: Any) -> dict[str, Any]:
    """A chat body."""
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 8} | rest


def said(answer: Answer) -> str:
    """The text of a streamed chat."""
    deltas = [data["choices"][0]["delta"] for _, data in answer.events if data != "[DONE]"]
    return "".join(delta.get("content") or "" for delta in deltas)


async def test_vllm_sends_its_head_when_it_accepts_and_sglang_with_its_first_event() -> None:
    for make, head_first in (("vllm", True), ("sglang", False)):
        async with (
            running(make=make, max_num_seqs=1) as server,
            connect(server.url) as busy,
            connect(server.url) as queued,
        ):
            # vLLM's queue must still be there when the head arrives; SGLang's must have moved on.
            tokens = 30_000 if head_first else 60
            await busy.send("POST", CHAT, chat(max_tokens=tokens, stream=True))
            await busy.head()
            await busy.chunk()
            await queued.send("POST", CHAT, chat(stream=True))
            head = await queued.head()
            assert head.status == 200
            assert (server.context.engine.waiting == 1) == head_first
            if not head_first:
                await queued.rest(head)


@pytest.mark.parametrize("make", ["vllm", "sglang"])
async def test_a_stream_says_what_the_whole_answer_says(make: str) -> None:
    async with running(make=make) as server:
        whole = await post(server.url, CHAT, chat(seed=3))
        stream = await post(server.url, CHAT, chat(seed=3, stream=True))
    assert said(stream) == whole.json["choices"][0]["message"]["content"]
    assert len(said(stream)) == 4 * 8
    assert stream.events[-1] == ("", "[DONE]")
    assert all(chunk.startswith(b"data: ") for chunk in stream.chunks)


@pytest.mark.parametrize("make", ["vllm", "sglang"])
async def test_a_repeated_prompt_reports_its_cached_tokens(make: str) -> None:
    body = {"prompt": list(range(100)), "max_tokens": 2, "stream": True}
    body["stream_options"] = {"include_usage": True}
    async with running(make=make, block_size=16) as server:
        answers = [await post(server.url, TEXT, body) for _ in range(2)]
    usages = [answer.events[-2][1]["usage"] for answer in answers]
    assert [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages] == [0, 96]
    assert usages[1]["prompt_tokens"] == 100
    assert usages[1]["completion_tokens"] == 2


async def test_a_conversation_finds_its_own_answer_in_the_cache() -> None:
    async with running(block_size=4) as server:
        first = (await post(server.url, CHAT, chat("tell me all", max_tokens=40))).json
        history = chat("tell me all")["messages"]
        history.append({"role": "assistant", "content": first["choices"][0]["message"]["content"]})
        history.append({"role": "user", "content": "go on"})
        second = (await post(server.url, CHAT, {"messages": history, "max_tokens": 1})).json
    prompt = first["usage"]["prompt_tokens"]
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] >= prompt + 36


@pytest.mark.parametrize("make", ["vllm", "sglang"])
@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
async def test_a_demanded_tool_is_called_with_fitting_arguments(make: str, choice: Any) -> None:
    body = chat(tools=[TOOL], tool_choice=choice, max_tokens=100)
    async with running(make=make) as server:
        whole = (await post(server.url, CHAT, body)).json["choices"][0]
        stream = await post(server.url, CHAT, body | {"stream": True})
    assert whole["finish_reason"] == "tool_calls"
    call = whole["message"]["tool_calls"][0]["function"]
    assert call["name"] == "get_weather"
    assert json.loads(call["arguments"]) == {"city": "the", "days": 1}
    deltas = [data["choices"][0]["delta"] for _, data in stream.events if data != "[DONE]"]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert calls[0]["function"]["name"] == "get_weather"
    assert calls[0]["id"]
    assert "".join(part["function"]["arguments"] for part in calls) == call["arguments"]


@pytest.mark.parametrize("make", ["vllm", "sglang"])
async def test_n_choices_differ_and_share_their_prompt(make: str) -> None:
    async with running(make=make) as server:
        body = (await post(server.url, CHAT, chat(n=3))).json
        assert server.context.engine.stats.prompt_queried == 3 * body["usage"]["prompt_tokens"]
    texts = [choice["message"]["content"] for choice in body["choices"]]
    assert len(set(texts)) == 3
    assert body["usage"]["completion_tokens"] == 24
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]


async def test_the_request_id_header_names_a_vllm_answer_and_means_nothing_to_sglang() -> None:
    headers = {"X-Request-Id": "mine-1"}
    async with running(echo_request_id=True) as server:
        answer = await post(server.url, CHAT, chat(), **headers)
        assert answer.json["id"] == "chatcmpl-mine-1"
        assert answer.header("x-request-id") == "mine-1"
    async with running(make="sglang") as server:
        answer = await post(server.url, CHAT, chat(rid="my-rid"), **headers)
        assert answer.json["id"] == "my-rid"
        assert answer.header("x-request-id") is None


async def test_sglang_refuses_a_rid_that_is_alive() -> None:
    async with running(make="sglang") as server, connect(server.url) as wire:
        await wire.send("POST", CHAT, chat(rid="r", stream=True, max_tokens=30_000))
        await wire.head()
        assert (await post(server.url, CHAT, chat(rid="r"))).status == 400
        assert (await post(server.url, CHAT, chat(rid="s"))).status == 200


async def test_without_a_limit_the_answer_stops_by_itself() -> None:
    async with running(default_output=5) as server:
        body = (await post(server.url, CHAT, {"messages": chat()["messages"]})).json
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] == 5


async def test_vllm_cuts_the_limit_to_the_context_and_sglang_refuses_it() -> None:
    body = {"prompt": [1] * 32_760, "max_tokens": 100}
    async with running() as server:
        answer = await post(server.url, TEXT, body)
        assert answer.json["usage"]["completion_tokens"] == 8
    async with running(make="sglang") as server:
        answer = await post(server.url, TEXT, body)
        assert answer.status == 400
        assert "32860 tokens" in answer.json["message"]


async def test_what_reached_the_engine_is_on_record() -> None:
    async with running() as server:
        await post(server.url, TEXT, {"prompt": "a b c", "max_tokens": 3}, **{"X-Thing": "7"})
        await post(server.url, TEXT, {"prompt": "a", "max_tokens": -1})
        first, second = server.context.records.document()
    assert ("x-thing", "7") in first["headers"]
    assert (first["status"], first["outcome"], first["output_tokens"]) == (200, "whole", 3)
    assert (second["status"], second["outcome"]) == (400, "error")
    assert first["body_bytes"] == len(json.dumps({"prompt": "a b c", "max_tokens": 3}))


async def test_a_crowd_of_streams_is_served_whole() -> None:
    async with running(model="llama-3.1-8b", time_scale=0.05, max_num_seqs=64) as server:
        bodies = [chat(f"number {i} " * 20, stream=True, max_tokens=30) for i in range(120)]
        answers = await asyncio.gather(*(post(server.url, CHAT, body) for body in bodies))
    assert all(len(said(answer)) == 120 for answer in answers)
    assert all(answer.events[-1] == ("", "[DONE]") for answer in answers)
