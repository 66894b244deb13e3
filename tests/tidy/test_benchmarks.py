"""The benchmarks measure what they say: the tools count right, the ratios are paired, a scenario
fails what is bad and passes what is good. Speed itself is never asserted here."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from benchmarks import bodies, cells, gateway, native_tools, processes, procfs, report, results
from benchmarks.cache import BenchmarkError
from benchmarks.candidates import CARDAN, Candidate, Kind, Ports, cardan
from benchmarks.fake_engine import (
    STREAM_HEAD,
    Connection,
    FakeEngine,
    Request,
    complete,
)
from benchmarks.load import Load, Window, run
from benchmarks.scenarios import clients, engines, surface

if TYPE_CHECKING:
    from collections.abc import Callable

needs_cc = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler"
)
SMALL = bodies.Bodies(1024, 8, 2)
SMALL_STREAM = bodies.Bodies(1024, 8, 2, stream=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's cache is left alone; one for all tests of this process, so C compiles once."""
    base = tmp_path_factory.getbasetemp() / "bench-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(base))


def splice() -> Candidate:
    """A candidate that forwards bytes to its first engine and understands nothing."""
    script = str(Path(__file__).parent / "splice.py")
    return Candidate("splice", "cache-aware", "none", (sys.executable, script))


def test_bodies_are_the_same_every_time_and_of_the_size_they_claim() -> None:
    for size in (1024, 32 * 1024):
        made = bodies.Bodies(size, 4, 2).make()
        assert made == bodies.Bodies(size, 4, 2).make()
        assert all(abs(len(body) - size) < 200 for body in made)


def test_bodies_of_a_group_share_three_quarters_and_no_more() -> None:
    first, other, second = (json.loads(b)["messages"] for b in bodies.Bodies(4096, 3, 2).make())
    assert first[0] == second[0]
    assert first[0] != other[0]
    assert first[1] != second[1]


def test_distinct_bodies_carry_the_mark_at_the_start_of_their_prompt() -> None:
    for body in bodies.Bodies(1024, 2, 1, distinct=True).make():
        assert json.loads(body)["messages"][0]["content"].startswith(bodies.MARK)


def test_a_changed_generator_or_field_means_another_file() -> None:
    assert SMALL.name != SMALL_STREAM.name
    assert SMALL.file() == bodies.Bodies(1024, 8, 2).file()


@needs_cc
def test_every_answer_of_the_mock_is_counted_once() -> None:
    with processes.mock(ports=2) as engine:
        window = run(engine.ports[0], Load(SMALL, 4, 20.0, 0.0, requests=200), core=None)
    assert (window.done, window.faults, window.unfinished) == (200, 0, 0)
    assert 0 < window.total_p50_us <= window.total_p99_us


@needs_cc
def test_streams_arrive_whole_and_in_order() -> None:
    with processes.mock(ports=1) as engine:
        engine.shape(gap_us=100, chunks=7)
        load = Load(SMALL_STREAM, 50, 20.0, 0.0, requests=100, chunks=7)
        window = run(engine.ports[0], load, core=None)
    assert (window.streams_whole, window.streams_broken, window.events) == (100, 0, 700)


@needs_cc
def test_an_open_loop_keeps_its_rate() -> None:
    with processes.mock(ports=1) as engine:
        load = Load(SMALL, 8, 20.0, 0.0, rate_per_s=500.0, requests=100)
        window = run(engine.ports[0], load, core=None)
    assert window.done == 100
    assert window.seconds >= 99 / 500


def chunks_of(*numbers: int, done: bool = True) -> Callable[[Connection, Request], None]:
    """A script: a stream with these event numbers."""

    def script(connection: Connection, _request: Request) -> None:
        connection.transport.write(STREAM_HEAD)
        for number in numbers:
            text = f'data: {{"id":"chatcmpl-00000000000000aa","ts":1,"seq":{number}}}\n\n'
            connection.chunk(text.encode())
        if done:
            connection.chunk(b"data: [DONE]\n\n")
        connection.transport.write(b"0\r\n\r\n")

    return script


@needs_cc
@pytest.mark.parametrize(
    ("script", "whole"),
    [
        (chunks_of(0, 1, 2), True),
        (chunks_of(0, 2, 1), False),
        (chunks_of(0, 1, 1), False),
        (chunks_of(0, 1), False),
        (chunks_of(0, 1, 2, done=False), False),
    ],
    ids=["whole", "reordered", "repeated", "short", "unended"],
)
async def test_the_generator_tells_a_whole_stream_from_a_broken_one(
    script: Callable[[Connection, Request], None], whole: bool
) -> None:
    engine = FakeEngine(script)
    await engine.start()
    load = Load(SMALL_STREAM, 2, 20.0, 0.0, requests=6, chunks=3)
    window = await asyncio.to_thread(run, engine.port, load, None)
    engine.die()
    assert (window.streams_whole, window.streams_broken) == ((6, 0) if whole else (0, 6))


@needs_cc
async def test_no_distinct_prompt_comes_twice() -> None:
    engine = FakeEngine(complete)
    await engine.start()
    distinct = bodies.Bodies(1024, 4, 2, distinct=True)
    load = Load(distinct, 3, 20.0, 0.0, requests=40, distinct_from=100)
    await asyncio.to_thread(run, engine.port, load, None)
    engine.die()
    marks = [json.loads(r.body)["messages"][0]["content"][:16] for r in engine.posts]
    assert sorted(marks) == [f"{number:016x}" for number in range(100, 140)]


def test_a_missing_compiler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent-is-never-reached")
    monkeypatch.setattr(native_tools, "cache_dir", lambda *_: Path("/nonexistent"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BenchmarkError, match="needs a C compiler"):
        native_tools.tool("mock")


def test_cpu_and_memory_of_a_whole_tree_are_seen() -> None:
    inner = "import time; t=time.process_time()\nwhile time.process_time()-t<0.2: pass\ninput()"
    outer = f"import subprocess,sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE) as parent:
        waited = asyncio.run(_until(lambda: procfs.cpu_s(parent.pid) >= 0.2))
        tree, rss = procfs.tree(parent.pid), procfs.rss_bytes(parent.pid)
    assert waited
    assert len(tree) == 2
    assert rss > 2 * 2**20


async def _until(happened: Callable[[], bool], deadline_s: float = 30.0) -> bool:
    for _ in range(int(deadline_s / 0.02)):
        if happened():
            return True
        await asyncio.sleep(0.02)
    return False


def window(cpu_ms: float, ttft_p99_us: float = 500.0) -> Window:
    """A window of 1,000 requests at that cost."""
    zeros = dict.fromkeys(Window.__struct_fields__, 0)
    known = {"done": 1000, "cpu_s": cpu_ms, "first_byte_p99_us": ttft_p99_us}
    return msgspec.convert({**zeros, **known}, Window)


def measured(**cpu_ms_by_name: list[float]) -> tuple[results.Rounds, cells.Cell]:
    """A run of one cell with these costs per round."""
    cell = cells.chosen(("1KB-400/s",))[0]
    rounds = results.Rounds([_candidate(name) for name in cpu_ms_by_name])
    for candidate, costs in zip(rounds.candidates, cpu_ms_by_name.values(), strict=True):
        for cost in costs:
            rounds.add(cell, candidate.name, window(cost, 1000 * cost))
    for _ in next(iter(cpu_ms_by_name.values())):
        rounds.add(cell, results.DIRECT, window(0.0, 100.0))
    return rounds, cell


def _candidate(word: str) -> Candidate:
    family, _, policy = word.partition("_")
    kind: Kind = "round-robin" if policy == "rr" else "cache-aware"
    return Candidate(family, kind, policy or "aware", ("true",))


def test_ratios_are_paired_by_round_so_a_slow_round_does_not_count() -> None:
    rounds, cell = measured(cardan=[0.1, 0.9, 0.1], slow=[0.2, 1.8, 0.2])
    assert rounds.cpu_ratio(cell, "cardan aware", "slow aware") == pytest.approx(0.5)


def test_the_best_peer_is_the_cheapest_cache_aware_one() -> None:
    rounds, cell = measured(cardan=[0.1] * 3, dear=[0.4] * 3, fair=[0.2] * 3, cheap_rr=[0.01] * 3)
    found = results.verdicts(rounds, [cell])
    assert [(v.met, v.figure) for v in found] == [(True, "0.50 × fair aware"), (True, "0.00 ms")]


def test_a_missed_target_is_said_to_be_missed() -> None:
    rounds, cell = measured(cardan=[0.3] * 3, fair=[0.2] * 3)
    assert [v.word for v in results.verdicts(rounds, [cell])] == ["NOT MET", "NOT MET"]


def test_without_cardan_nothing_is_claimed() -> None:
    rounds, cell = measured(fair=[0.2] * 3)
    assert [v.met for v in results.verdicts(rounds, [cell])] == [None, None]


def test_tables_line_up_and_failures_show() -> None:
    rounds, cell = measured(cardan=[0.1], fair=[0.2])
    lines = report.cpu_table(rounds, [cell]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].split()[-1] == "0.50"


def test_cardan_is_started_with_its_defaults() -> None:
    command = cardan("cache-aware").command(Ports(8080, 8081, (9001, 9002)))
    wanted = "--endpoint http://127.0.0.1:9001 --endpoint http://127.0.0.1:9002 "
    assert " ".join(command[4:]) == wanted + "--listen 127.0.0.1:8080 --policy dualmap"


def test_a_candidates_port_is_none_that_the_kernel_gives_to_whoever_wants_any() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert processes.free_port() < taken.getsockname()[1]
    assert len({processes.free_port() for _ in range(20)}) > 10


def test_a_candidate_that_does_not_start_is_named_with_its_last_words() -> None:
    program = (sys.executable, "-c", "import sys; sys.exit('no such thing')")
    broken = Candidate("broken", "cache-aware", "aware", program)
    with pytest.raises(BenchmarkError, match=r"broken aware ended at start: no such thing"):
        processes.start_all([broken], [1], None)


def test_an_unknown_peer_or_cell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--peers", "haproxy"], ["--cells", "2KB"]):
        with pytest.raises(SystemExit):
            gateway.main(words)
    assert "is not one of" in capsys.readouterr().err


@pytest.mark.slow
async def test_a_scenario_passes_what_is_good() -> None:
    finding = await engines.internal_error(splice())
    assert (finding.passed, finding.figure) == (True, "1 tries, 500")
    assert (await surface.unknown_fields(splice())).figure == "all arrive as sent"
    assert (await clients.silent_leave(splice())).passed


@pytest.mark.slow
async def test_a_scenario_fails_what_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface, "ADMIN", ("/flush_cache",))
    finding = await surface.admin_paths(splice())
    assert (finding.passed, finding.figure) == (False, "1 of 1 reached: /flush_cache")
    finding = await surface.address_leaks(splice())
    assert (finding.passed, finding.figure) == (False, "leaks when: redirect")
    finding = await engines.owner_dies(splice())
    assert (finding.passed, finding.figure) == (False, "20 of 20 failed (0)")


def test_cardan_is_the_first_candidate() -> None:
    assert cardan("cache-aware").name == f"{CARDAN} dualmap"
