"""What sources do when the other side is wrong: say so, ask for nothing twice that cannot help."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import httpx
import pytest
from cardan.instants import WallTime
from cardan_controller.metrics.answers import Answer, Sample
from cardan_controller.metrics.asks import ASKS
from cardan_controller.metrics.gateways import Gateway, GatewaySource
from cardan_controller.metrics.prometheus import (
    PrometheusConfig,
    PrometheusSource,
    read_external,
    read_reply,
)
from cardan_controller.metrics.promql import Windows

from tests.controller.metrics.pages import pages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cardan_controller.metrics.answers import Answers

NOW = WallTime(1_800_000_000.0)
EMPTY = {"status": "success", "data": {"resultType": "vector", "result": []}}


async def asked(
    handler: Callable[[httpx.Request], httpx.Response],
    external: dict[str, str] | None = None,
    **config: str,
) -> tuple[Answers, list[httpx.Request]]:
    """One tick against a server that is a function."""
    seen: list[httpx.Request] = []

    def serve(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return handler(request)

    client = httpx.AsyncClient(transport=httpx.MockTransport(serve))
    settings = PrometheusConfig(url="http://prometheus.test/base/", **config)  # type: ignore[arg-type]
    source = PrometheusSource(settings, Windows(60, 300), client, external, clocks_within_s=45.0)
    answers = await source.read(NOW)
    await source.close()
    return answers, seen


def serving(status: int, body: bytes) -> Callable[[httpx.Request], httpx.Response]:
    """Answers everything alike."""
    return lambda _: httpx.Response(status, content=body)


async def test_all_asks_are_of_one_moment_and_carry_the_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    answers, seen = await asked(
        lambda _: httpx.Response(200, json=EMPTY), bearer_token_file=str(token)
    )
    assert len(seen) == len(ASKS)
    assert {request.url.path for request in seen} == {"/base/api/v1/query"}
    assert {parse_qs(request.content.decode())["time"][0] for request in seen} == {f"{NOW:.3f}"}
    assert {request.headers["authorization"] for request in seen} == {"Bearer secret"}
    assert all(answer == Answer({}) for answer in answers.by_name.values())


async def test_a_token_that_is_missing_fails_every_ask_with_its_path() -> None:
    answers, seen = await asked(serving(200, b""), bearer_token_file="/nowhere/token")
    assert not seen
    assert all("/nowhere/token" in answer.failed for answer in answers.by_name.values())


def dated(seconds: float) -> Callable[[httpx.Request], httpx.Response]:
    """Answers with a server's clock that is so far ahead of ours."""
    date = formatdate(NOW + seconds, usegmt=True)
    return lambda _: httpx.Response(200, json=EMPTY, headers={"date": date})


@pytest.mark.parametrize("ahead_s", [300.0, -300.0])
async def test_by_another_clock_the_past_would_be_taken_for_now(ahead_s: float) -> None:
    answers, _ = await asked(dated(ahead_s), {"jobs": "sum(jobs)"})
    way = "ahead of" if ahead_s > 0 else "behind"
    words = f"clocks differ: that of Prometheus is 300 s {way} the operator's"
    assert {answer.failed for answer in answers.by_name.values()} == {words}
    assert answers.external["jobs"].failed == words


@pytest.mark.parametrize("header", [formatdate(NOW + 44, usegmt=True), "noon", ""])
async def test_a_clock_that_is_near_or_not_told_is_nothing_wrong(header: str) -> None:
    answers, _ = await asked(lambda _: httpx.Response(200, json=EMPTY, headers={"date": header}))
    assert all(answer == Answer({}) for answer in answers.by_name.values())


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_busy_server_is_asked_twice(status: int) -> None:
    answers, seen = await asked(serving(status, b"<html>later</html>"))
    assert len(seen) == 2 * len(ASKS)
    assert all(f"status {status}" in answer.failed for answer in answers.by_name.values())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_refusal_is_not_asked_again(status: int) -> None:
    body = json.dumps({"status": "error", "error": "not for you"}).encode()
    answers, seen = await asked(serving(status, body))
    assert len(seen) == len(ASKS)
    assert {a.failed for a in answers.by_name.values()} == {f"status {status}: not for you"}


async def test_one_query_that_fails_takes_no_other_with_it() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if "cardan_held_requests" in request.content.decode():
            raise httpx.ReadTimeout("too slow")
        return httpx.Response(200, json=EMPTY)

    answers, _ = await asked(handler)
    assert answers.by_name["held"].failed == "no answer: too slow"
    assert [name for name, answer in answers.by_name.items() if answer.failed] == ["held"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no answer of a Prometheus"),
        (b"[]", "no answer of a Prometheus"),
        (b'{"status":"success","data":{"resultType":"matrix","result":[]}}', "a matrix where"),
        (b'{"status":"success"}', "no reason given"),
    ],
)
def test_what_is_no_vector_is_said_to_be_none(body: bytes, words: str) -> None:
    assert words in read_reply((200, body), ASKS["requests"]).failed


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "many"])
def test_what_is_no_number_is_missing(text: str) -> None:
    series = [
        {"metric": {"namespace": "n", "model": model}, "value": [1.0, value]}
        for model, value in (("a", text), ("b", "2"))
    ]
    reply = {"status": "success", "data": {"resultType": "vector", "result": series}}
    body = json.dumps(reply).encode()
    answer = read_reply((200, body), ASKS["requests"])
    assert answer == ({("n", "b"): 2.0}, "", frozenset({("n", "a")}))
    assert [one.value for one in read_external((200, body)).samples] == [None, 2.0]


async def test_queries_of_the_configuration_are_asked_as_they_are() -> None:
    series = {"metric": {"fleet": "llama"}, "value": [1.0, "7"]}
    reply = {"status": "success", "data": {"resultType": "vector", "result": [series]}}

    def handler(request: httpx.Request) -> httpx.Response:
        (query,) = parse_qs(request.content.decode())["query"]
        if query == "nonsense":
            return httpx.Response(400, json={"status": "error", "error": "parse error"})
        return httpx.Response(200, json=reply if query == 'max(queue{a="b"})' else EMPTY)

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    external = {"queue": 'max(queue{a="b"})', "wrong": "nonsense"}
    settings = PrometheusConfig(url="http://prometheus.test")
    source = PrometheusSource(settings, Windows(60, 300), client, external)
    answers = await source.read(NOW)
    await source.close()
    assert answers.external["queue"] == ((Sample({"fleet": "llama"}, 7.0),), "")
    assert answers.external["wrong"] == ((), "status 400: parse error")
    assert not any(answer.failed for answer in answers.by_name.values())


async def test_gateways_that_answer_are_enough() -> None:
    page = next(pages())

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.host == "b":
            raise httpx.ConnectError("refused")
        return httpx.Response(200, content=page.text())

    client = httpx.AsyncClient(transport=httpx.MockTransport(serve))
    urls = ["http://a/metrics", "http://b/metrics"]
    source = GatewaySource(
        lambda: [Gateway(url, "one") for url in urls], short_s=60, long_s=300, client=client
    )
    answers = await source.read(NOW)
    assert answers.by_name["gateways"] == Answer({("one",): 0.0})  # it has told no rates yet
    answers = await source.read(WallTime(NOW + 30.0))
    assert answers.by_name["gateways"] == Answer({("one",): 1.0})
    del urls[0]
    answers = await source.read(NOW)
    assert answers.by_name["gateways"].failed == "http://b/metrics: refused"
    await source.close()
