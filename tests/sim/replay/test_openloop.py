"""Requests leave at their time whatever happened to earlier ones, and each ends in one sample."""

from __future__ import annotations

import asyncio
import socket

import pytest
from cardan_sim.replay.client import EndpointUnusableError, ReplayClient
from cardan_sim.replay.openloop import OpenLoop, Outcome
from cardan_sim.traces import BlockPrompt, PromptWriter, TraceRequest

from tests.fakes.waiting import DEADLINE_S, soon, until
from tests.sim.replay.standin import Answer, StandIn, standing_in


def requests(count: int) -> list[TraceRequest]:
    return [TraceRequest(None, 16, n + 1, BlockPrompt((n,), 16)) for n in range(count)]


async def play(
    url: str, plan: list[TraceRequest], *, gap_s: float = 0.0, timeout_s: float = DEADLINE_S
) -> Outcome:
    async with ReplayClient(url, timeout_s=timeout_s) as client:
        due_s = [gap_s * index for index in range(len(plan))]
        return await OpenLoop(client, PromptWriter("m"), plan, due_s).run(asyncio.Event())


def kinds(outcome: Outcome) -> list[str | None]:
    return [sample.error for sample in outcome.samples]


async def test_an_answer_fills_a_sample() -> None:
    async with standing_in(lambda _: Answer(tokens=4, cached_tokens=16, endpoint="e-1")) as server:
        (sample,) = (await play(server.url, requests(1))).samples
    assert sample.error is None
    assert sample.first_s is not None
    assert 0 <= sample.sent_s <= sample.first_s <= sample.end_s
    assert (sample.prompt_tokens, sample.cached_tokens, sample.output_tokens) == (20, 16, 4)
    assert len(sample.gaps_s) == 3
    assert sample.endpoint == "e-1"


async def test_requests_do_not_wait_for_the_answers_of_earlier_ones() -> None:
    gate = asyncio.Event()
    count = 150  # more than the connections aiohttp opens by default

    def script(body: dict[str, object]) -> Answer:
        if body["max_tokens"] == count:
            gate.set()
        return Answer(gate=gate)

    async with standing_in(script) as server:
        outcome = await play(server.url, requests(count))
    assert kinds(outcome) == [None] * count


async def test_samples_come_back_in_the_order_of_their_times() -> None:
    async with standing_in(lambda _: Answer()) as server:
        outcome = await play(server.url, requests(5), gap_s=0.01)
    assert [s.due_s for s in outcome.samples] == pytest.approx([0, 0.01, 0.02, 0.03, 0.04])
    assert all(s.sent_s >= s.due_s for s in outcome.samples)


async def test_every_way_to_fail_has_its_name() -> None:
    answers = [
        Answer(),
        Answer(status=503),
        Answer(ending="error event"),
        Answer(ending="no done"),
        Answer(ending="reset"),
        Answer(gate=asyncio.Event()),
    ]
    script = lambda body: answers[int(str(body["max_tokens"])) - 1]  # noqa: E731 - one line
    async with standing_in(script) as server:
        outcome = await play(server.url, requests(6), gap_s=0.001, timeout_s=3.0)
    assert kinds(outcome) == [None, "http 503", "error event", "cut", "cut", "timeout"]


async def test_nobody_listening_is_a_failed_request_and_not_a_crash() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and never listening: connections are refused
        port = taken.getsockname()[1]
        outcome = await play(f"http://127.0.0.1:{port}", requests(2))
        assert kinds(outcome) == ["connect", "connect"]
        async with ReplayClient(f"http://127.0.0.1:{port}", timeout_s=DEADLINE_S) as client:
            with pytest.raises(EndpointUnusableError):
                await client.first_model()


async def test_a_stop_cancels_what_runs_and_sends_no_more() -> None:
    stop = asyncio.Event()

    def script(body: dict[str, object]) -> Answer:
        return Answer(gate=asyncio.Event() if body["max_tokens"] == 2 else None)

    async with standing_in(script) as server, ReplayClient(server.url, timeout_s=600) as client:
        loop = OpenLoop(client, PromptWriter("m"), requests(4), [0.0, 0.0, 600.0, 601.0])
        running = asyncio.create_task(loop.run(stop))
        await until(lambda: (loop.tally.ended, len(server.bodies)) == (1, 2), "one to end")
        stop.set()
        outcome = await soon(running)
    assert (len(outcome.samples), outcome.unfinished, outcome.unsent) == (1, 1, 2)


async def test_the_tally_ends_where_the_outcome_does() -> None:
    script = lambda body: Answer(status=200 if body["max_tokens"] == 1 else 500)  # noqa: E731
    async with (
        standing_in(script) as server,
        ReplayClient(server.url, timeout_s=DEADLINE_S) as client,
    ):
        loop = OpenLoop(client, PromptWriter("m"), requests(3), [0.0, 0.0, 0.0])
        await loop.run(asyncio.Event())
    tally = loop.tally
    assert (tally.sent, tally.ended, tally.failed, tally.first_tokens) == (3, 3, 2, 1)
    assert (tally.in_flight, tally.answering) == (0, 0)


async def test_the_key_and_the_v1_of_a_base_url_are_understood() -> None:
    async with standing_in(lambda _: Answer()) as server:
        url = server.url + "/v1/"
        async with ReplayClient(url, api_key="sk-1", timeout_s=DEADLINE_S) as client:
            assert await client.first_model() == "standing-in"
            loop = OpenLoop(client, PromptWriter("m"), requests(1), [0.0])
            assert kinds(await loop.run(asyncio.Event())) == [None]
    assert server.keys == ["Bearer sk-1"]
    assert isinstance(server, StandIn)
