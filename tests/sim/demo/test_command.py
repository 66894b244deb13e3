"""`cardan demo` as its users run it: real engines, the real gateway, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.fakes.waiting import DEADLINE_S
from tests.system.processes import START_DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Start = Callable[..., Awaitable[asyncio.subprocess.Process]]

SLOW_TO_LOAD = """
import sys, time, cardan_cli

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "cardan_sim.demo.main":
            print("loading", flush=True)
            time.sleep(600)

sys.meta_path.insert(0, Finder())
sys.exit(cardan_cli.main())
"""
SMALL = ("--engines", "2", "--requests", "12", "--rate", "12")


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts demos, and ends those that a test leaves running."""
    started: list[asyncio.subprocess.Process] = []

    async def run(*args: str, program: str = "") -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *(("-c", program) if program else ("-m", "cardan_cli"))),
            *("demo", *args),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


def descendants(pid: int) -> list[int]:
    """The child processes of a process."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in children.split()]


async def until_children(pid: int, count: int) -> list[int]:
    async with asyncio.timeout(START_DEADLINE_S):
        while len(found := descendants(pid)) < count:  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.02)
    return found


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def until_gone(pids: list[int]) -> None:
    async with asyncio.timeout(START_DEADLINE_S):
        while not gone(pids):  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_a_small_demo_compares_the_policies_and_leaves_nothing(
    start: Start, tmp_path: Path
) -> None:
    json_file, html_file = tmp_path / "demo.json", tmp_path / "demo.html"
    process = await start(*SMALL, "--json", str(json_file), "--html", str(html_file))
    children = await until_children(process.pid, 3)
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert gone(children)
    text = out.decode()
    assert "round-robin" in text
    assert "Cardan (dualmap)" in text
    figures = json.loads(json_file.read_bytes())
    assert (figures["schema"], figures["setting"]["engines"]) == (1, 2)
    assert [run["succeeded"] for run in figures["runs"]] == [12, 12]
    for run in figures["runs"]:
        assert run["balance"]["source"] == "engines"
        names = [share["name"] for share in run["balance"]["endpoints"]]
        assert names == ["engine-1", "engine-2"]
        assert sum(share["requests"] for share in run["balance"]["endpoints"]) == 12
    assert html_file.read_text(encoding="utf-8").count("<svg") == 4


@pytest.mark.slow
async def test_kept_running_it_answers_the_line_it_prints_until_it_is_told_to_stop(
    start: Start,
) -> None:
    process = await start(*SMALL, "--policy", "dualmap", "--keep")
    lines = []
    assert process.stdout is not None
    async with asyncio.timeout(START_DEADLINE_S):
        async for line in process.stdout:
            lines.append(line.decode())
            if "Stop everything" in lines[-1]:
                break
    text = "".join(lines)
    curl = re.search(r"curl -N (\S+) -H '([^']+)' -d '([^']+)'", text)
    page = re.search(r"Status page: (\S+)", text)
    assert curl is not None
    assert page is not None
    name, value = curl[2].split(": ")
    async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
        answer = await client.post(curl[1], headers={name: value}, content=curl[3])
        assert answer.status_code == 200
        assert answer.text.endswith("data: [DONE]\n\n")
        ui = await client.get(page[1], follow_redirects=True)
        assert ui.status_code == 200
        assert "text/html" in ui.headers["content-type"]
    children = descendants(process.pid)
    assert len(children) == 3
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode == 0
    assert gone(children)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_while_it_starts_ends_every_child(
    start: Start, number: signal.Signals
) -> None:
    process = await start("--engines", "2")
    children = await until_children(process.pid, 2)
    process.send_signal(number)
    _, err = await process.communicate()
    assert process.returncode == 128 + number
    assert b"stopped" in err
    assert gone(children)


@pytest.mark.parametrize("processes", [1, 3])
async def test_a_killed_demo_takes_its_children_with_it_and_leaves_no_files(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = await start("--engines", "2", "--keep")
    children = await until_children(process.pid, processes)
    process.kill()
    await process.wait()
    await until_gone(children)
    assert files_in(tmp_path) == []


async def test_more_requests_than_the_slice_holds_are_cut_to_it_in_words(start: Start) -> None:
    process = await start("--engines", "1", "--requests", "99999999")
    await until_children(process.pid, 1)
    process.terminate()
    out, _ = await process.communicate()
    text = " ".join(out.decode().split())
    assert "The slice has 600 requests, not 99,999,999: all of it is sent." in text
    assert ", 600 requests of" in text


@pytest.mark.parametrize("flag", ["--json", "--html"])
async def test_a_report_that_cannot_be_written_is_refused_before_anything_starts(
    start: Start, tmp_path: Path, flag: str
) -> None:
    process = await start(*SMALL, flag, str(tmp_path / "none" / "x"))
    out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert err.decode() == (
        f"cardan demo: cannot write {tmp_path}/none/x: there is no directory {tmp_path}/none\n"
    )


async def test_ctrl_c_while_it_is_still_loading_prints_no_traceback(start: Start) -> None:
    """The import of what it is made of goes on for as long as the test wants."""
    process = await start(program=SLOW_TO_LOAD)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"loading\n"
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert process.returncode == -signal.SIGINT
    assert (out, err) == (b"", b"")


async def test_a_taken_port_is_named_and_nothing_is_left(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await start(*SMALL, "--listen", f"127.0.0.1:{port}")
        children = await until_children(process.pid, 2)
        _, err = await process.communicate()
    assert process.returncode == 1
    assert "cardan demo: gateway ended with status" in err.decode()
    assert str(port) in err.decode()
    assert gone(children)


async def test_an_engine_that_dies_ends_the_demo_with_its_name(start: Start) -> None:
    process = await start("--engines", "2", "--requests", "500", "--rate", "5")
    children = await until_children(process.pid, 3)
    assert process.stdout is not None
    async with asyncio.timeout(START_DEADLINE_S):
        async for line in process.stdout:
            if b"processes are up" in line:
                break
    os.kill(children[0], signal.SIGKILL)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert re.search(r"cardan demo: engine-\d ended with status -9", err.decode())
    assert gone(children)


async def test_an_unknown_policy_is_refused_with_those_there_are(start: Start) -> None:
    process = await start(*SMALL, "--policy", "rond-robin")
    _, err = await process.communicate()
    assert process.returncode == 2
    assert "rond-robin" in err.decode()
    assert "dualmap" in err.decode()
    assert err.decode().count("\n") == 1
