"""`python -m benchmarks.gateway`: Cardan against its peers, side by side in one run.

The gateway under test has one core; the mock engine and the load generator share another. All
candidates are started together and then run in turn within each round, so that whatever the machine
does, it does to all of them. See `benchmarks/README.md` for what the figures mean.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from pathlib import Path

import msgspec

from benchmarks import cells, extremes, report
from benchmarks.cache import BenchmarkError
from benchmarks.candidates import CARDAN, PEERS, Candidate, Kind, cardan
from benchmarks.load import run
from benchmarks.processes import Gateway, Mock, cores, mock, start_all
from benchmarks.results import DIRECT, Rounds, Verdict, verdicts

QUICK_SECONDS, FULL_SECONDS = 1.0, 2.5
ROUNDS = 3
RSS_PROMPTS = {True: (2_000, 20_000), False: (10_000, 100_000)}  # by --quick
STREAM_CHUNKS = {True: 20, False: 50}


class Options(msgspec.Struct, frozen=True):
    """The command line."""

    peers: tuple[str, ...]
    quick: bool
    rss: bool
    round_robin: bool
    rounds: int
    seconds: float
    cells: tuple[str, ...]
    json_file: Path | None
    python: str


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 1 when a target is missed, 2 when it could not run."""
    options = _options(argv)
    try:
        return _run(options)
    except BenchmarkError as error:
        print(f"benchmarks.gateway: {error}", file=sys.stderr)
        return 2


def _run(options: Options) -> int:
    raise_file_limit()
    facts = report.machine(options.python)
    print(f"{facts['date']}  {facts['cores']} × {facts['cpu']}, load {facts['load_before']}")
    print(f"Python {facts['python']}\n")
    candidates, failed = _candidates(options)
    with mock(core=cores()[1]) as engine:
        judge = _rss_run if options.rss else _cell_run
        found, figures = judge(options, candidates, engine, failed)
    for name, reason in failed.items():
        print(f"! {name} was not measured: {reason}")
    print("\n" + report.verdict_table(found))
    if options.json_file:
        whole = {"machine": facts, "verdicts": found, "failed": failed, **figures}
        text = json.dumps(msgspec.to_builtins(whole), indent=1)
        options.json_file.write_text(text)
    missed = any(verdict.met is False for verdict in found)
    return 1 if missed or any(name.startswith(CARDAN) for name in failed) else 0


def _cell_run(
    options: Options, candidates: list[Candidate], engine: Mock, failed: dict[str, str]
) -> tuple[list[Verdict], dict[str, object]]:
    gateway_core, load_core = cores()
    chosen = cells.chosen(options.cells)
    gateways, not_started = start_all(candidates, engine.ports, gateway_core)
    failed |= not_started
    try:
        rounds = _measure(options, chosen, gateways, engine)
        many = _many_streams(options, gateways, engine, load_core)
    finally:
        for gateway in gateways:
            gateway.stop()
    for text in (report.cpu_table, report.latency_table, report.chunk_table):
        print(text(rounds, chosen) + "\n")
    for line in report.fault_lines(rounds, chosen):
        print(line)
    found = [*verdicts(rounds, chosen), *(m.verdict for m in many if m.name == rounds.ours())]
    return found, {"windows": rounds.windows, "rows": _rows(rounds, chosen), "streams": many}


def _measure(
    options: Options, chosen: tuple[cells.Cell, ...], gateways: list[Gateway], engine: Mock
) -> Rounds:
    rounds = Rounds([gateway.candidate for gateway in gateways])
    load_core = cores()[1]
    for number in range(options.rounds):
        # Each round starts with another candidate: nobody always runs after the same neighbour.
        turn = gateways[number % len(gateways) :] + gateways[: number % len(gateways)]
        for cell in chosen:
            _progress(f"round {number + 1}/{options.rounds}, {cell.name}")
            engine.shape(cell.gap_us, cells.CHUNKS)
            load = cell.load(options.seconds)
            rounds.add(cell, DIRECT, run(engine.ports[0], load, load_core))
            for gateway in turn:
                window = run(gateway.port, load, load_core, gateway.cpu_s)
                rounds.add(cell, gateway.candidate.name, window)
    _progress("")
    return rounds


def _many_streams(
    options: Options, gateways: list[Gateway], engine: Mock, load_core: int
) -> list[extremes.Streams]:
    found = []
    for gateway in gateways:
        if gateway.candidate.kind == "cache-aware":
            _progress(f"{extremes.STREAMS} streams, {gateway.candidate.name}")
            chunks = STREAM_CHUNKS[options.quick]
            found.append(extremes.streams(gateway, engine, chunks, load_core))
    _progress("")
    rows = [
        [s.name, str(s.whole), str(s.broken), str(s.lost), f"{s.chunk_delay_p99_ms:.0f}"]
        for s in found
    ]
    head = [f"{extremes.STREAMS} streams at once", "whole", "broken", "lost", "delay p99 ms"]
    print(report.table(head, rows) + "\n")
    return found


def _rss_run(
    options: Options, candidates: list[Candidate], engine: Mock, failed: dict[str, str]
) -> tuple[list[Verdict], dict[str, object]]:
    few, many = RSS_PROMPTS[options.quick]
    measured = []
    engine.shape(0, cells.CHUNKS)
    for candidate in candidates:
        _progress(f"{many:,} distinct prompts, {candidate.name}")
        try:
            measured.append(extremes.memory(candidate, engine, few, many, cores()))
        except BenchmarkError as error:
            failed[candidate.name] = str(error)
    _progress("")
    head = ["RSS MiB", "idle", f"{few:,} prompts", f"{many:,} prompts", "growth", "failed"]
    print(report.table(head, extremes.memory_rows(measured)))
    return [extremes.memory_verdict(measured)], {"memory": measured}


def _candidates(options: Options) -> tuple[list[Candidate], dict[str, str]]:
    kinds: list[Kind] = ["cache-aware", "round-robin"] if options.round_robin else ["cache-aware"]
    found = [cardan(kind, options.python) for kind in kinds]
    failed: dict[str, str] = {}
    for name in options.peers:
        _progress(f"installing {name} (first time only)")
        try:
            found += [PEERS[name].candidate(kind) for kind in kinds]
        except BenchmarkError as error:
            failed[name] = str(error)
    _progress("")
    return found, failed


def _rows(rounds: Rounds, chosen: tuple[cells.Cell, ...]) -> dict[str, dict[str, object]]:
    names = [candidate.name for candidate in rounds.candidates]
    return {cell.name: {name: rounds.row(cell, name) for name in names} for cell in chosen}


def raise_file_limit() -> None:
    """Lift the soft limit on open files to the hard one, for this process and its children."""
    # 2,000 streams take 4,000 descriptors of a gateway; the usual soft limit is 1,024.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _options(argv: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    peers = ",".join(PEERS)
    parser.add_argument("--peers", default=peers, help=f"comma-separated (default {peers})")
    parser.add_argument("--skip-peers", action="store_true", help=f"{CARDAN} alone")
    parser.add_argument("--quick", action="store_true", help="fewer cells, about two minutes")
    parser.add_argument("--rss", action="store_true", help="memory after many distinct prompts")
    parser.add_argument("--round-robin", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=None, help="length of one window")
    parser.add_argument("--cells", default=None, help=f"comma-separated of {','.join(cells.NAMES)}")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument(
        "--python", default=sys.executable, help="that Cardan runs on (default: this one)"
    )
    given = parser.parse_args(argv)
    return Options(
        peers=() if given.skip_peers else _words(parser, given.peers, tuple(PEERS)),
        quick=given.quick,
        rss=given.rss,
        round_robin=not (given.quick or given.rss)
        if given.round_robin is None
        else given.round_robin,
        rounds=given.rounds,
        seconds=given.seconds or (QUICK_SECONDS if given.quick else FULL_SECONDS),
        cells=_words(parser, given.cells, cells.NAMES)
        if given.cells
        else (cells.QUICK if given.quick else cells.NAMES),
        json_file=given.json,
        python=given.python,
    )


def _words(parser: argparse.ArgumentParser, given: str, known: tuple[str, ...]) -> tuple[str, ...]:
    words = tuple(word.strip() for word in given.split(",") if word.strip())
    for word in words:
        if word not in known:
            parser.error(f"{word!r} is not one of {', '.join(known)}")
    return words


if __name__ == "__main__":
    sys.exit(main())
