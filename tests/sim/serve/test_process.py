"""The command as a process: how it starts, what it says, how it ends on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from cardan_sim.serve.main import main

from tests.fakes.waiting import DEADLINE_S, soon
from tests.sim.serve.wire import Wire, ask, connect, get, post
from tests.system.processes import START_DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TEXT = "/v1/completions"
# A minute of an answer.
LONG = 30_000
pytestmark = pytest.mark.slow


class Process:
    """A running `cardan engine`."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url

    def signal(self, number: int = signal.SIGTERM) -> float:
        """Send a signal; returns the time."""
        self.process.send_signal(number)
        return time.monotonic()

    async def gone(self) -> int:
        """Its exit status."""
        return await soon(self.process.wait())


@contextlib.asynccontextmanager
async def engine(*flags: str) -> AsyncIterator[Process]:
    """A process with these flags on a free port."""
    argv = [sys.executable, "-m", "cardan_cli", "engine", "--listen", "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(
        *argv, "--model", "tiny", *flags, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), START_DEADLINE_S)).decode()
        match = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", line)
        assert match, line
        yield Process(process, match[1])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def start_stream(wire: Wire, tokens: int = LONG) -> None:
    """A stream that has its first event."""
    await wire.send("POST", TEXT, {"prompt": "x", "max_tokens": tokens, "stream": True})
    await wire.head()
    await wire.chunk()


async def rest_of(wire: Wire) -> bytes:
    """The chunks up to the proper end of a stream."""
    chunks = []
    while chunk := await soon(wire.chunk()):
        chunks.append(chunk)
    return b"".join(chunks)


async def read_until_cut(wire: Wire) -> None:
    """Read a stream that is cut without a proper end and without [DONE]."""
    raw = b""
    with contextlib.suppress(ConnectionError):
        while data := await soon(wire.reader.read(1 << 16)):
            raw += data
    assert b"[DONE]" not in raw
    assert not raw.endswith(b"0\r\n\r\n")


async def test_vllm_cuts_its_streams_with_an_error_event_and_is_gone_in_half_a_second() -> None:
    async with (
        engine("--engine", "vllm") as child,
        connect(child.url) as a,
        connect(child.url) as b,
    ):
        await start_stream(a)
        await b.send("POST", TEXT, {"prompt": "x", "max_tokens": LONG})
        await until_state(child, running=2)
        child.signal()
        events = await rest_of(a)
        assert events.endswith(
            b'data: {"error": {"message": "EngineCore encountered an issue. See stack trace '
            b'(above) for the root cause.", "type": "InternalServerError", "param": null, '
            b'"code": 500}}\n\ndata: [DONE]\n\n'
        )
        whole = await b.answer()
        assert (whole.status, whole.json["error"]["type"]) == (500, "InternalServerError")
        assert await child.gone() == 0


async def until_state(child: Process, **wanted: Any) -> None:
    """Wait until /sim/state says so."""

    async def look() -> bool:
        state = (await get(child.url, "/sim/state")).json
        return all(state[name] == value for name, value in wanted.items())

    end = time.monotonic() + DEADLINE_S
    while not await look():
        assert time.monotonic() < end, wanted
        await asyncio.sleep(0.02)


async def test_a_draining_vllm_finishes_says_it_is_healthy_and_answers_500() -> None:
    async with (
        engine("--shutdown-timeout", "600") as child,
        connect(child.url) as holding,
        connect(child.url) as wire,
    ):
        await start_stream(holding)
        await start_stream(wire, tokens=300)
        child.signal()
        await until_state(child, draining=True)
        assert (await get(child.url, "/health")).status == 200
        refused = await post(child.url, TEXT, {"prompt": "y", "max_tokens": 1})
        assert refused.status == 500
        assert refused.json["error"]["message"] == "cannot schedule new futures after shutdown"
        events = await rest_of(wire)
        assert b'"finish_reason":"length"' in events
        assert events.endswith(b"data: [DONE]\n\n")
        await holding.close()
        assert await child.gone() == 0


async def test_a_draining_sglang_is_not_ready_but_serves_until_nothing_is_left() -> None:
    flags = ("--engine", "sglang", "--time-scale", "0.4")
    async with (
        engine(*flags) as child,
        connect(child.url) as holding,
        connect(child.url) as wire,
    ):
        await start_stream(holding)
        await start_stream(wire, tokens=200)
        at = child.signal()
        await until_state(child, draining=True)
        assert (await get(child.url, "/ready")).status == 503
        assert (await get(child.url, "/health")).status == 503
        assert (await post(child.url, TEXT, {"prompt": "y", "max_tokens": 2})).status == 200
        assert (await rest_of(wire)).endswith(b"data: [DONE]\n\n")
        await holding.close()
        assert await child.gone() == 0
        assert time.monotonic() - at >= 1.0  # it looks every 5 s of its own time


async def test_a_token_beyond_the_vocabulary_silences_and_kills_an_sglang() -> None:
    flags = ("--engine", "sglang", "--time-scale", "0.3")  # the stream lasts, the silence not
    async with engine(*flags) as child, connect(child.url) as wire:
        await start_stream(wire)
        async with connect(child.url) as poison:
            await poison.send("POST", TEXT, {"prompt": [5000], "max_tokens": 1})
            await read_until_cut(wire)
        assert await child.gone() == -signal.SIGKILL


async def test_exit_is_a_fault_too() -> None:
    async with engine() as child:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await ask(child.url, "PUT", "/faults", {"exit": True})
        assert await child.gone() == -signal.SIGKILL


async def test_a_starting_vllm_refuses_connections() -> None:
    """Its port opens when it is ready, and the line on stdout comes then."""
    began = time.monotonic()
    async with engine("--startup-delay", "0.7") as child:
        assert time.monotonic() - began >= 0.7
        assert (await get(child.url, "/health")).status == 200


async def test_a_taken_port_is_a_sentence_and_status_1(capfd: pytest.CaptureFixture[str]) -> None:
    async with engine() as child:
        port = child.url.rpartition(":")[2]
        argv = [sys.executable, "-m", "cardan_cli", "engine", "--listen", f"127.0.0.1:{port}"]
        second = await asyncio.create_subprocess_exec(*argv, stderr=subprocess.PIPE)
        _, errors = await soon(second.communicate())
    assert second.returncode == 1
    sentence = f"cardan engine: cannot listen on 127.0.0.1:{port}: {os.strerror(98)}\n"
    assert errors.decode() == sentence


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--time-scale", "0"], "time-scale must be a positive number"),
        (["--listen", "nowhere"], "--listen must be HOST:PORT"),
        (["--gpu", "abacus"], "no fit of llama-3.1-8b on 'abacus'"),
        (["--model", "gpt-17"], "invalid choice: 'gpt-17'"),
        (["--max-num-seqs", "0"], "max-num-seqs must be at least 1"),
    ],
)
def test_a_wrong_flag_is_named(
    flags: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(flags)
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err


async def test_every_connection_of_a_killed_engine_is_cut() -> None:
    async with engine() as child, connect(child.url) as wire:
        await start_stream(wire)
        child.signal(signal.SIGKILL)
        await read_until_cut(wire)
