"""`python -m benchmarks.decision`: what a routing decision costs, on the core alone.

No gateway, no sockets: bodies of 1, 32 and 200 KB, fleets of 10, 100 and 1,000 endpoints with
requests in flight, every policy. Three figures per decision, each over the one before:

- decide: the policy's choice, the prompt already hashed;
- +key: and the prompt canonicalised and hashed, which is all the core does for a request;
- +parse: and the body parsed as JSON, which is the gateway's part.

*Shared* prompts come in groups with a common prefix, so keys repeat; *new* prompts never do, which
is the worst case of a policy that remembers the candidates of a key. Judged is the mean of +key.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import orjson
from cardan.endpoint import Endpoint, EngineKind
from cardan.fleet import Fleet
from cardan.instants import Monotonic
from cardan.ledger import Outcome
from cardan.policies import policy_named, policy_names
from cardan.prompt import KeyConfig, Prompt, read_prompt
from cardan.request import Api, RequestView
from cardan.scheduler import Scheduler

from benchmarks import report
from benchmarks.bodies import MARK, PLAIN, Bodies
from benchmarks.results import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cardan.ledger import Lease

SIZES_KB = (1, 32, 200)
FLEETS = (10, 100, 1000)
COUNT, QUICK_COUNT = 1000, 300
WARMUP = 100
RATE_PER_S = 400.0  # simulated arrivals: what decays and ramps with time does so as it would
IN_FLIGHT_EACH = 2
LIMITS_US = {(32, 100): 150.0, (32, 1000): 400.0}  # the project's targets, by size and fleet
POLICY = "dualmap"


class Cost(msgspec.Struct, frozen=True):
    """One distribution of times in µs."""

    mean_us: float
    p50_us: float
    p99_us: float

    def __str__(self) -> str:
        return f"{self.mean_us:.0f}/{self.p50_us:.0f}/{self.p99_us:.0f}"


class Measured(msgspec.Struct, frozen=True):
    """One policy on one size of prompt and fleet."""

    policy: str
    prompts: str
    size_kb: int
    endpoints: int
    decide: Cost
    with_key: Cost
    with_parse: Cost


class Bench:
    """A scheduler over a fleet of `endpoints`, kept busy while decisions are timed."""

    def __init__(self, policy: str, endpoints: int) -> None:
        """A fleet of warm, healthy endpoints that all serve the mock model."""
        self.now = Monotonic(1000.0)
        fleet = Fleet()
        fleet.update((_endpoint(number) for number in range(endpoints)), self.now)
        self.scheduler = Scheduler(fleet, policy_named(policy), random.Random(1))
        self._running: deque[Lease] = deque()
        self._most_running = endpoints * IN_FLIGHT_EACH
        self._key = KeyConfig()

    def time(self, raw: bytes) -> tuple[float, float, float]:
        """µs of one decision: the choice alone, with the key, with the parse too."""
        self.now = Monotonic(self.now + 1 / RATE_PER_S)
        t0 = time.perf_counter_ns()
        body = orjson.loads(raw)
        t1 = time.perf_counter_ns()
        prompt = read_prompt(Api.CHAT, body, self._key)
        t2 = time.perf_counter_ns()
        request = self._request(prompt, len(raw))
        t3 = time.perf_counter_ns()
        decision = self.scheduler.decide(request, self.now)
        t4 = time.perf_counter_ns()
        assert decision is not None
        self._run(self.scheduler.ledger.open(request, decision, self.now))
        decide, key, parse = t4 - t3, t2 - t1, t1 - t0
        return decide / 1000, (decide + key) / 1000, (decide + key + parse) / 1000

    def _request(self, prompt: Prompt, body_bytes: int) -> RequestView:
        return RequestView(
            request_id="r",
            api=Api.CHAT,
            model="mock-model",
            prompt=prompt,
            stream=True,
            arrived_at=self.now,
            slo_ttft_s=2.0,
            body_bytes=body_bytes,
        )

    def _run(self, lease: Lease) -> None:
        lease.first_token(self.now)
        self._running.append(lease)
        if len(self._running) > self._most_running:
            self._running.popleft().close(Outcome.OK, self.now)


def measure(policy: str, prompts: str, size_kb: int, endpoints: int, count: int) -> Measured:
    """Time `count` decisions after a warm-up."""
    bench = Bench(policy, endpoints)
    bodies = _new(size_kb) if prompts == "new" else _shared(size_kb)
    for _ in range(WARMUP):
        bench.time(next(bodies))
    times = [bench.time(next(bodies)) for _ in range(count)]
    costs = (_cost([time[i] for time in times]) for i in range(3))
    return Measured(policy, prompts, size_kb, endpoints, *costs)


def _shared(size_kb: int) -> Iterator[bytes]:
    bodies = PLAIN[size_kb].make()
    while True:
        yield from bodies


def _new(size_kb: int) -> Iterator[bytes]:
    (body,) = Bodies(size_kb * 1024, 1, 1, distinct=True).make()
    before, after = body.split(MARK.encode())
    number = 0
    while True:
        number += 1
        yield before + b"%016x" % number + after


def _cost(times_us: list[float]) -> Cost:
    ordered = sorted(times_us)
    p99 = ordered[int(0.99 * (len(ordered) - 1))]
    return Cost(statistics.fmean(ordered), statistics.median(ordered), p99)


def _endpoint(number: int) -> Endpoint:
    url = f"http://10.0.{number // 256}.{number % 256}:8000"
    return Endpoint(
        url=url, name=f"engine-{number}", models=("mock-model",), engine=EngineKind.VLLM
    )


def main(argv: list[str] | None = None) -> int:
    """Time decisions; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decision", description=__doc__)
    parser.add_argument("--policies", default=",".join(policy_names()), help="comma-separated")
    parser.add_argument("--quick", action="store_true", help="fewer decisions")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args(argv)
    count = QUICK_COUNT if options.quick else COUNT
    measured = [
        measure(policy, prompts, size_kb, endpoints, count)
        for policy in options.policies.split(",")
        for prompts in (("shared", "new") if policy == POLICY else ("shared",))
        for size_kb in SIZES_KB
        for endpoints in FLEETS
    ]
    found = [verdict for m in measured if (verdict := _verdict(m))]
    print(_table(measured) + "\n\n" + report.verdict_table(found))
    if options.json:
        whole = {"machine": report.machine(), "verdicts": found, "decisions": measured}
        options.json.write_text(json.dumps(msgspec.to_builtins(whole), indent=1))
    return int(any(verdict.met is False for verdict in found))


def _verdict(measured: Measured) -> Verdict | None:
    limit_us = LIMITS_US.get((measured.size_kb, measured.endpoints))
    if measured.policy != POLICY or limit_us is None:
        return None
    where = f"{measured.size_kb} KB {measured.prompts} prompt, {measured.endpoints} endpoints"
    mean_us = measured.with_key.mean_us
    figure, limit = f"{mean_us:.0f} µs mean", f"≤ {limit_us:.0f} µs"
    return Verdict(f"decision with key, {where}", figure, limit, mean_us <= limit_us)


def _table(measured: list[Measured]) -> str:
    rows = [
        [
            m.policy,
            m.prompts,
            f"{m.size_kb} KB",
            str(m.endpoints),
            str(m.decide),
            str(m.with_key),
            str(m.with_parse),
        ]
        for m in measured
    ]
    head = ["µs mean/p50/p99", "prompts", "size", "endpoints", "decide", "+key", "+parse"]
    return report.table(head, rows)


if __name__ == "__main__":
    sys.exit(main())
