"""Callers of `Inference` that cancel, run out of time, are lost or do not read: what ends then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from cardan.instants import Monotonic
from cardan.ledger import Outcome
from cardan_router.gateway import NullRecorder
from cardan_router.limits import TimeoutsConfig
from cardan_router.pb.cardan.v1 import inference_pb2
from grpc import aio

from tests.fakes.waiting import until
from tests.router.grpc.calls import Stream, failed, piece_of, read
from tests.router.grpc.door import chat, door, failure
from tests.router.grpc.engine import DONE, Ask, chunk, engine, event, write_stream_head

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan_router.record import FlightRecord

    from tests.router.grpc.door import Door
    from tests.router.grpc.engine import Engine


class Notes(NullRecorder):
    """Keeps how requests ended."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[Outcome | None] = []

    def flight_ended(self, flight: FlightRecord) -> None:
        self.outcomes.append(flight.exchange.outcome)


async def _hold(one: Engine, gate: Door) -> Stream:
    """A stream whose end the engine holds back."""
    one.go_on.clear()
    call = gate.inference.Generate(chat())
    assert (await piece_of(call)).choices[0].text == "w0 "
    assert one.running == 1
    return call


async def test_a_client_that_cancels_stops_the_engine() -> None:
    async with engine() as one, door([one.url]) as gate:
        call = await _hold(one, gate)
        call.cancel()
        await until(lambda: one.running == 0)
        assert one.left == 1
        await until(lambda: gate.open_leases == 0)


async def test_a_client_that_cancels_while_the_engine_is_silent_stops_it_too() -> None:
    async with engine() as one, door([one.url]) as gate:
        one.go_on.clear()
        call = gate.inference.GenerateUnary(chat())
        await until(lambda: one.running == 1)
        call.cancel()
        await until(lambda: one.running == 0)
        await until(lambda: gate.open_leases == 0)


async def test_a_client_whose_connection_is_lost_stops_the_engine() -> None:
    async with engine() as one, door([one.url]) as gate:
        call = await _hold(one, gate)
        await gate.channel.close(None)
        await until(lambda: one.running == 0)
        assert call.cancelled()


async def test_the_calls_deadline_is_the_requests() -> None:
    async with engine() as one, door([one.url]) as gate:
        one.go_on.clear()
        with pytest.raises(aio.AioRpcError) as raised:
            await gate.inference.GenerateUnary(chat(), timeout=0.3)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: one.running == 0)
        got = await failed(
            gate.inference.GenerateUnary(chat(), metadata=(("x-request-timeout-ms", "100"),))
        )
        assert (got.code, got.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


async def test_a_client_that_does_not_read_stops_the_engine_from_writing() -> None:
    written = 0

    async def flood(ask: Ask, out: asyncio.StreamWriter) -> None:
        nonlocal written
        write_stream_head(out)
        for _ in range(20_000):
            out.write(event(chunk(ask, "x" * 1000)))
            await out.drain()
            written += 1
        out.write(DONE)
        out.write_eof()

    async with engine() as one, door([one.url]) as gate:
        one.behave = flood
        call = gate.inference.Generate(chat())
        await call.wait_for_connection()
        await _settled(lambda: written)
        assert 0 < written < 15_000
        pieces = await read(call)
        assert sum(len(piece.choices) for piece in pieces) == 20_000
        assert len(pieces) < 20_000, "what waits together is sent together"


async def test_a_client_that_stops_reading_is_cut_after_a_while() -> None:
    async def flood(ask: Ask, out: asyncio.StreamWriter) -> None:
        write_stream_head(out)
        while True:
            out.write(event(chunk(ask, "x" * 1000)))
            await out.drain()

    notes = Notes()
    async with engine() as one, door([one.url], recorder=notes) as gate:
        gate.gateway.timeouts = TimeoutsConfig(stalled_reader_s=0.5)
        one.behave = flood
        call = gate.inference.Generate(chat())
        await piece_of(call)
        await until(lambda: one.running == 0)
        assert gate.open_leases == 0
        assert notes.outcomes == [Outcome.CLIENT_LEFT]
        with pytest.raises(aio.AioRpcError) as raised:
            await _drained(call)
        assert failure(raised.value)[:2] == ("DEADLINE_EXCEEDED", "STALLED_READER")


async def test_a_client_that_reads_slowly_is_not_cut() -> None:
    async def flood(ask: Ask, out: asyncio.StreamWriter) -> None:
        write_stream_head(out)
        for _ in range(5_000):
            out.write(event(chunk(ask, "x" * 1000)))
            await out.drain()
        out.write(DONE)
        out.write_eof()

    now = Monotonic(1000.0)
    async with engine() as one, door([one.url], clock=lambda: now) as gate:
        one.behave = flood
        call = gate.inference.Generate(chat())
        got = 0
        while isinstance(piece := await call.read(), inference_pb2.GenerateResponse):
            got += len(piece.choices)
            now = Monotonic(now + 0.1)  # more than the limit in all, at no time too much
            gate.gateway.sweep()
        assert got == 5_000


async def _drained(call: Stream) -> None:
    while isinstance(await call.read(), inference_pb2.GenerateResponse):
        pass


async def _settled(value: Callable[[], int]) -> None:
    """Wait until a number has not changed for half a second."""
    seen, same = -1, 0
    async with asyncio.timeout(20):
        while same < 10:
            now = value()
            seen, same = now, same + 1 if now == seen else 0
            await asyncio.sleep(0.05)
