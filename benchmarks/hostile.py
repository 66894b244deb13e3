"""`python -m benchmarks.hostile`: what today's gateways do badly, tried on Cardan and on its peers.

Each scenario gets a fresh gateway in front of fake engines that misbehave on cue, and says whether
what came out is good enough. The limits are the project's own; the peers stand beside for honesty.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

import msgspec
import uvloop

from benchmarks import report, scenarios
from benchmarks.cache import BenchmarkError
from benchmarks.candidates import CARDAN, PEERS, Candidate, cardan
from benchmarks.gateway import raise_file_limit

LONGEST_S = 240.0  # of one scenario, before it counts as failed


def main(argv: list[str] | None = None) -> int:
    """Play the scenarios; 1 when Cardan fails one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__)
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated")
    parser.add_argument("--skip-peers", action="store_true", help=f"{CARDAN} alone")
    parser.add_argument("--skip-cardan", action="store_true", help="the peers alone")
    parser.add_argument("--scenario", action="append", default=[], help="part of a name; repeat")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args(argv)
    raise_file_limit()
    chosen = [s for s in scenarios.ALL if _wanted(s.name, options.scenario)]
    found: dict[str, dict[str, scenarios.Finding]] = {}
    for candidate in _candidates(options):
        # The stock loop of Python 3.11 trips over a connection that is aborted while it closes.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found[candidate.name] = runner.run(_play_all(candidate, chosen))
    print(_table(chosen, found))
    if options.json:
        whole = {"machine": report.machine(), "findings": found}
        options.json.write_text(json.dumps(msgspec.to_builtins(whole), indent=1))
    ours = [findings for name, findings in found.items() if name.startswith(CARDAN)]
    return int(any(not finding.passed for findings in ours for finding in findings.values()))


def _wanted(name: str, parts: list[str]) -> bool:
    return not parts or any(part.lower() in name.lower() for part in parts)


def _candidates(options: argparse.Namespace) -> list[Candidate]:
    found = [] if options.skip_cardan else [cardan("cache-aware")]
    for name in [] if options.skip_peers else options.peers.split(","):
        try:
            found.append(PEERS[name].candidate("cache-aware"))
        except (BenchmarkError, KeyError) as error:
            print(f"! {name} is not played: {error}")
    return found


async def _play_all(
    candidate: Candidate, chosen: list[scenarios.Scenario]
) -> dict[str, scenarios.Finding]:
    found = {}
    for scenario in chosen:
        finding = await _play(candidate, scenario)
        found[scenario.name] = finding
        word = "pass" if finding.passed else "FAIL"
        print(f"{word}  {candidate.name}: {scenario.name}: {finding.figure}", flush=True)
    return found


async def _play(candidate: Candidate, scenario: scenarios.Scenario) -> scenarios.Finding:
    try:
        async with asyncio.timeout(LONGEST_S):
            return await scenario.play(candidate)
    except TimeoutError:
        return scenarios.Finding(False, f"not over in {LONGEST_S:.0f} s")
    except (BenchmarkError, OSError, EOFError) as error:
        return scenarios.Finding(False, f"{type(error).__name__}: {error}")


def _table(chosen: list[scenarios.Scenario], found: dict[str, dict[str, scenarios.Finding]]) -> str:
    rows = [
        [s.name, s.wanted, *("pass" if f[s.name].passed else "FAIL" for f in found.values())]
        for s in chosen
    ]
    return "\n" + report.table(["scenario", "wanted", *found], rows)


if __name__ == "__main__":
    sys.exit(main())
