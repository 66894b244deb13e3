"""The OpenAI Python SDK works unchanged through the gateway."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import openai
import pytest
from openai import OpenAI

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.processes import Processes

MODEL = "llama-3.1-8b"
KEY = "sk-test-0123456789abcdef"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base_url(module_procs: Processes) -> str:
    """A gateway with keys in front of two vLLM engines."""
    keys = module_procs.folder / "keys"
    keys.write_text(f"# one key a line\ntester:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
    engines = module_procs.engines(2, "--engine", "vllm", "--model", MODEL, "--time-scale", "0.2")
    return module_procs.router(engines, "--api-keys", str(keys)).url + "/v1"


@pytest.fixture
def client(base_url: str) -> Iterator[OpenAI]:
    """The SDK as a user makes it, without its own retries so that none hides a fault."""
    with OpenAI(base_url=base_url, api_key=KEY, max_retries=0, timeout=30) as made:
        yield made


def test_a_chat_is_answered_with_usage(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Why is the sea salty?"}], max_tokens=16
    )
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16


def test_a_stream_comes_in_pieces_and_ends_with_a_reason(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Tell me a story"}],
        max_tokens=20,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert sum(1 for c in chunks if c.choices and c.choices[0].delta.content) >= 19
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 20


def test_two_choices_come_back_for_n_2(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Heads or tails?"}], n=2, max_tokens=4
    )
    assert sorted(choice.index for choice in answer.choices) == [0, 1]


def test_tools_are_passed_on_and_called(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is the weather in Bern?"}],
        tools=[
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                },
            }
        ],
        tool_choice="required",
    )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].type == "function"
    assert calls[0].function.name == "weather"


def test_a_completion_and_a_streamed_completion_are_answered(client: OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=8)
    assert answer.choices[0].text
    chunks = list(
        client.completions.create(model=MODEL, prompt="Once upon", max_tokens=8, stream=True)
    )
    assert "".join(c.choices[0].text for c in chunks if c.choices)


def test_embeddings_come_back_one_for_each_input(client: OpenAI) -> None:
    answer = client.embeddings.create(model=MODEL, input=["red", "blue"], encoding_format="float")
    assert [item.index for item in answer.data] == [0, 1]
    assert answer.data[0].embedding != answer.data[1].embedding


def test_models_are_those_of_the_fleet(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


def test_a_wrong_key_is_an_authentication_error(base_url: str) -> None:
    with (
        OpenAI(base_url=base_url, api_key="sk-wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        stranger.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hello"}]
        )
    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id


def test_an_unknown_model_is_a_not_found_error(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(
            model="no-such-model", messages=[{"role": "user", "content": "hello"}]
        )
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


def test_the_answer_names_its_request(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "user", "content": "hello"}],
        max_tokens=2,
        extra_headers={"x-request-id": "my-own-id-17"},
    )
    assert raw.headers["x-request-id"] == "my-own-id-17"
