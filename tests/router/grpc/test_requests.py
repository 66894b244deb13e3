"""A gRPC request becomes exactly the OpenAI body that an HTTP client would have sent."""

from __future__ import annotations

import math

import orjson
import pytest
from cardan.errors import RequestError
from cardan.request import Api
from cardan_router.grpc import requests, structs
from cardan_router.pb.cardan.v1 import inference_pb2, prompt_pb2
from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

Chat = prompt_pb2.Chat
Message = prompt_pb2.Message
GenerateRequest = inference_pb2.GenerateRequest


def chat(*messages: Message, **fields: object) -> GenerateRequest:
    return GenerateRequest(model="m", chat=Chat(messages=messages, **fields))  # type: ignore[arg-type]


def body_of(request: GenerateRequest, *, stream: bool = False) -> dict[str, object]:
    return requests.generate(request, stream=stream)[1]


def wrong(request: GenerateRequest) -> str | None:
    with pytest.raises(RequestError) as raised:
        requests.generate(request, stream=False)
    return raised.value.param


HELLO = Message(role="user", content="hello")


def test_a_chat_is_the_body_of_chat_completions() -> None:
    api, body = requests.generate(chat(HELLO), stream=False)
    assert api is Api.CHAT
    assert body == {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def test_text_and_token_ids_are_the_body_of_completions() -> None:
    assert requests.generate(GenerateRequest(model="m", text="a"), stream=False) == (
        Api.COMPLETION,
        {"model": "m", "prompt": "a"},
    )
    ids = prompt_pb2.TokenIds(ids=[1, 2])
    assert body_of(GenerateRequest(model="m", token_ids=ids)) == {"model": "m", "prompt": [1, 2]}


def test_a_stream_asks_for_usage_and_keeps_the_other_stream_options() -> None:
    request = chat(HELLO)
    assert body_of(request, stream=True)["stream_options"] == {"include_usage": True}
    request.extra.update({"stream_options": {"continuous_usage_stats": True}})
    assert body_of(request, stream=True)["stream_options"] == {
        "include_usage": True,
        "continuous_usage_stats": True,
    }


def test_without_a_model_the_body_names_none() -> None:
    assert "model" not in body_of(GenerateRequest(text="a"))


def test_parts_become_openai_parts() -> None:
    message = Message(
        role="user",
        parts=[
            prompt_pb2.ContentPart(text="look"),
            prompt_pb2.ContentPart(
                image_url=prompt_pb2.ImageUrl(url="data:image/png;base64,AA", detail="low")
            ),
            prompt_pb2.ContentPart(
                input_audio=prompt_pb2.InputAudio(data=b"\x00\x01", format="wav")
            ),
            prompt_pb2.ContentPart(video_url=prompt_pb2.MediaUrl(url="https://v")),
            prompt_pb2.ContentPart(audio_url=prompt_pb2.MediaUrl(url="https://a")),
            prompt_pb2.ContentPart(other=structs.from_json({"type": "file", "file": {"id": "f"}})),
        ],
    )
    assert body_of(chat(message))["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,AA", "detail": "low"},
                },
                {"type": "input_audio", "input_audio": {"data": "AAE=", "format": "wav"}},
                {"type": "video_url", "video_url": {"url": "https://v"}},
                {"type": "audio_url", "audio_url": {"url": "https://a"}},
                {"file": {"id": "f"}, "type": "file"},
            ],
        }
    ]


def test_tool_calls_and_their_answers_round_trip() -> None:
    call = prompt_pb2.ToolCall(id="c1", name="add", arguments='{"a":1}')
    made = Message(role="assistant", tool_calls=[call])
    answered = Message(role="tool", content="2", tool_call_id="c1", name="add")
    assert body_of(chat(made, answered))["messages"] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "add", "arguments": '{"a":1}'},
                }
            ],
        },
        {"role": "tool", "content": "2", "name": "add", "tool_call_id": "c1"},
    ]


def test_a_tools_schema_keeps_the_order_of_its_keys() -> None:
    tool = prompt_pb2.Tool(
        name="f", description="d", parameters='{"z": {"b": 1, "a": 2}, "c": 3}', strict=False
    )
    tools = body_of(chat(HELLO, tools=[tool]))["tools"]
    assert orjson.dumps(tools) == (
        b'[{"type":"function","function":{"name":"f","description":"d",'
        b'"parameters":{"z":{"b":1,"a":2},"c":3},"strict":false}}]'
    )


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (prompt_pb2.ToolChoice(mode=prompt_pb2.ToolChoice.MODE_AUTO), "auto"),
        (prompt_pb2.ToolChoice(mode=prompt_pb2.ToolChoice.MODE_NONE), "none"),
        (prompt_pb2.ToolChoice(mode=prompt_pb2.ToolChoice.MODE_REQUIRED), "required"),
        (
            prompt_pb2.ToolChoice(function="auto"),
            {"type": "function", "function": {"name": "auto"}},
        ),
    ],
)
def test_tool_choice_has_openais_four_forms(
    choice: prompt_pb2.ToolChoice, expected: object
) -> None:
    assert body_of(chat(HELLO, tool_choice=choice))["tool_choice"] == expected


def test_every_sampling_option_reaches_the_body_even_when_zero() -> None:
    sampling = prompt_pb2.Sampling(
        max_tokens=0,
        temperature=0.0,
        top_p=0.1,
        top_k=-1,
        min_p=0.0,
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        repetition_penalty=1.1,
        stop=["a", "b"],
        stop_token_ids=[7],
        seed=0,
        n=2,
        ignore_eos=False,
        min_tokens=0,
        logit_bias={9: -100.0, 5: 1.5},
        top_logprobs=0,
        response_format='{"type":"json_object"}',
    )
    names = {field.name for field in prompt_pb2.Sampling.DESCRIPTOR.fields}
    assert names == {field.name for field, _ in sampling.ListFields()}, "set them all here"
    body = body_of(GenerateRequest(text="a", sampling=sampling))
    assert body == {
        "prompt": "a",
        "max_tokens": 0,
        "temperature": 0.0,
        "top_p": 0.1,
        "top_k": -1,
        "min_p": 0.0,
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "repetition_penalty": 1.1,
        "seed": 0,
        "n": 2,
        "ignore_eos": False,
        "min_tokens": 0,
        "stop": ["a", "b"],
        "stop_token_ids": [7],
        "logit_bias": {"5": 1.5, "9": -100.0},
        "logprobs": 0,
        "response_format": {"type": "json_object"},
    }


def test_log_probabilities_are_asked_for_as_each_api_wants() -> None:
    request = chat(HELLO)
    request.sampling.top_logprobs = 3
    body = body_of(request)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 3)


def test_extra_carries_what_has_no_field() -> None:
    request = chat(HELLO)
    request.extra.update({"guided_regex": "a+", "priority": 3, "x": {"b": [1, 2.5, None, True]}})
    request.chat.messages[0].extra.update({"reasoning": "hm"})
    body = body_of(request)
    assert body["guided_regex"] == "a+"
    assert orjson.dumps([body["priority"], body["x"]]) == b'[3,{"b":[1,2.5,null,true]}]'
    assert body["messages"] == [{"role": "user", "content": "hello", "reasoning": "hm"}]


def _bad_requests() -> list[tuple[str, GenerateRequest]]:
    duplicate = GenerateRequest(text="a", sampling=prompt_pb2.Sampling(temperature=0.5))
    duplicate.extra.update({"temperature": 1})
    streaming = GenerateRequest(text="a")
    streaming.extra.update({"stream": True})
    infinite = GenerateRequest(text="a")
    infinite.extra.update({"a": [1, {"b": math.inf}]})
    role = chat(HELLO)
    role.chat.messages[0].extra.update({"role": "system"})
    both = Message(role="user", content="", parts=[prompt_pb2.ContentPart(text="a")])
    tool = prompt_pb2.Tool(name="f", parameters="{")
    return [
        ("prompt", GenerateRequest(model="m")),
        ("chat.messages", chat()),
        ("chat.messages[0].role", chat(Message(content="a"))),
        ("chat.messages[1].content", chat(HELLO, both)),
        (
            "chat.messages[0].parts[0]",
            chat(Message(role="user", parts=[prompt_pb2.ContentPart()])),
        ),
        ("chat.messages[0].extra.role", role),
        ("chat.tools[0].parameters", chat(HELLO, tools=[tool])),
        ("chat.tool_choice.mode", chat(HELLO, tool_choice=prompt_pb2.ToolChoice(mode=0))),  # type: ignore[arg-type]
        ("extra.temperature", duplicate),
        ("extra.stream", streaming),
        ("extra.a[1].b", infinite),
        (
            "sampling.temperature",
            GenerateRequest(text="a", sampling=prompt_pb2.Sampling(temperature=math.nan)),
        ),
        (
            "sampling.logit_bias[4]",
            GenerateRequest(text="a", sampling=prompt_pb2.Sampling(logit_bias={4: math.inf})),
        ),
        (
            "sampling.response_format",
            GenerateRequest(text="a", sampling=prompt_pb2.Sampling(response_format="[]")),
        ),
    ]


@pytest.mark.parametrize(("param", "request_"), _bad_requests(), ids=lambda case: str(case)[:40])
def test_a_wrong_field_is_named(param: str, request_: GenerateRequest) -> None:
    assert wrong(request_) == param


def test_stream_options_must_be_an_object() -> None:
    request = GenerateRequest(text="a")
    request.extra.update({"stream_options": 1})
    with pytest.raises(RequestError) as raised:
        requests.generate(request, stream=True)
    assert raised.value.param == "extra.stream_options"


def embed_request(*inputs: str | list[int], **extra: object) -> inference_pb2.EmbedRequest:
    items = [
        inference_pb2.EmbedInput(text=item)
        if isinstance(item, str)
        else inference_pb2.EmbedInput(token_ids=prompt_pb2.TokenIds(ids=item))
        for item in inputs
    ]
    request = inference_pb2.EmbedRequest(model="e", inputs=items)
    request.extra.update(extra)  # type: ignore[arg-type]
    return request


def test_one_text_is_a_string_and_several_are_a_list() -> None:
    assert requests.embed(embed_request("a", user="u")) == (
        Api.EMBEDDING,
        {"model": "e", "input": "a", "user": "u"},
    )
    assert requests.embed(embed_request("a", "b"))[1]["input"] == ["a", "b"]
    assert requests.embed(embed_request([1, 2]))[1]["input"] == [1, 2]
    assert requests.embed(embed_request([1], [2]))[1]["input"] == [[1], [2]]


def test_dimensions_go_along() -> None:
    request = embed_request("a")
    request.dimensions = 64
    assert requests.embed(request)[1]["dimensions"] == 64


@pytest.mark.parametrize(
    ("param", "request_"),
    [
        ("inputs", embed_request()),
        ("inputs", embed_request("a", [1])),
        ("inputs[0]", inference_pb2.EmbedRequest(inputs=[inference_pb2.EmbedInput()])),
        ("extra.input", embed_request("a", input="b")),
    ],
)
def test_a_wrong_embedding_field_is_named(param: str, request_: inference_pb2.EmbedRequest) -> None:
    with pytest.raises(RequestError) as raised:
        requests.embed(request_)
    assert raised.value.param == param


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=4), _JSON, max_size=4))
def test_a_struct_carries_any_json_object_there_and_back(members: dict[str, object]) -> None:
    assert structs.to_json(structs.from_json(members), "extra") == members


@given(st.permutations([("b", 1), ("a", 2), ("c", 3), ("d", 4)]))
def test_equal_structs_are_equal_bytes(items: list[tuple[str, int]]) -> None:
    struct = struct_pb2.Struct()
    json_format.ParseDict(dict(items), struct)
    assert orjson.dumps(structs.to_json(struct, "extra")) == b'{"a":2,"b":1,"c":3,"d":4}'
