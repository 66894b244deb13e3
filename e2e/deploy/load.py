"""Open-loop load on a Service: so many streams a second, whatever becomes of them.

    python -m e2e.deploy.load HOST PORT MODEL --rate 200 --tokens 16

It says `started` when the first answer is whole, and gives up if none is in time. It goes on until
its standard input ends, waits for what runs, and then prints what became of every request as one
JSON object (`Report`). A third of the requests each come from fresh connections, young and old
pools (`clients`). None is ever tried again. Run it where the Service's address is reachable
(`Cluster.inside`).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from typing import Final, get_args

import msgspec
import uvloop

from e2e.deploy.clients import Asked, Connection, Kind, Outcome, Pool, judge

# The Service has just been settled: the first answers are whole after two or three seconds.
START_S: Final = 30.0
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Failure(msgspec.Struct):
    """One request that failed. Times are of the wall clock, in seconds."""

    outcome: Outcome
    kind: Kind
    detail: str
    began_at: float
    sent_at: float | None
    ended_at: float
    reused: bool
    """Its connection had answered before."""


class Report(msgspec.Struct):
    """What became of all requests of one run. Durations in seconds."""

    outcomes: dict[Outcome, int]
    kinds: dict[Kind, int]
    rate_per_s: float
    most_in_flight: int
    ttft_p50_s: float
    ttft_p99_s: float
    stream_p50_s: float
    dialled: int
    reused: int
    failures: list[Failure]

    @property
    def total(self) -> int:
        """Requests."""
        return sum(self.outcomes.values())

    @property
    def failed(self) -> int:
        """Requests that were not answered in full."""
        return self.total - self.outcomes.get("ok", 0)


class Load:
    """A run."""

    def __init__(self, asked: Asked, rate_per_s: float, seed: int) -> None:
        self._asked = asked
        self._rate_per_s = rate_per_s
        self._rng = random.Random(seed)
        self._pools = {kind: Pool(kind) for kind in KINDS}
        self._running: set[asyncio.Task[None]] = set()
        self._most = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._kinds: Counter[Kind] = Counter()
        self._ttft_s: list[float] = []
        self._stream_s: list[float] = []
        self._failures: list[Failure] = []
        self.well = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> Report:
        """Until `stop`, and then until nothing runs any more."""
        loop = asyncio.get_running_loop()
        began = due = loop.time()
        number = 0
        while not stop.is_set():
            due += self._rng.expovariate(self._rate_per_s)
            if (wait_s := due - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            task = loop.create_task(self._one(number))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            self._most = max(self._most, len(self._running))
            number += 1
        rate_per_s = number / (loop.time() - began)
        await asyncio.gather(*self._running)
        for pool in self._pools.values():
            pool.close()
        return self._report(rate_per_s)

    async def _one(self, number: int) -> None:
        kind = KINDS[number % len(KINDS)]
        pool = self._pools[kind]
        began_at, began = time.time(), asyncio.get_running_loop().time()
        sent_at: float | None = None
        reused = False
        outcome: Outcome
        try:
            connection = await pool.connection(self._asked)
            reused = connection.idle_since > 0
            sent_at = time.time()
            outcome, detail = await self._answer(connection, number, kind)
            if outcome == "ok":
                self._answered(connection, began)
            pool.put(connection)
        except ConnectionRefusedError:
            outcome, detail = "refused", ""
        except (OSError, TimeoutError) as error:
            outcome, detail = "no connection", f"{type(error).__name__}: {error}"
        self._outcomes[outcome] += 1
        self._kinds[kind] += 1
        if outcome != "ok":
            self._failures.append(
                Failure(outcome, kind, detail, began_at, sent_at, time.time(), reused)
            )

    async def _answer(self, connection: Connection, number: int, kind: Kind) -> tuple[Outcome, str]:
        try:
            await connection.ask(self._asked.request(number, kind))
        except TimeoutError:
            connection.close()
            return "late", f"{len(connection.answer)} bytes"
        return judge(connection.answer, self._asked.tokens)

    def _answered(self, connection: Connection, began: float) -> None:
        self._ttft_s.append(connection.first_byte_at - began)
        self._stream_s.append(asyncio.get_running_loop().time() - began)
        self.well.set()

    def so_far(self) -> str:
        """What became of the requests that have ended, in a few words."""
        failures = [f"{failure.outcome} {failure.detail}" for failure in self._failures[:3]]
        return f"{dict(self._outcomes)} {'; '.join(failures)}"

    def _report(self, rate_per_s: float) -> Report:
        return Report(
            outcomes=dict(self._outcomes),
            kinds=dict(self._kinds),
            rate_per_s=round(rate_per_s, 1),
            most_in_flight=self._most,
            ttft_p50_s=_quantile(self._ttft_s, 0.5),
            ttft_p99_s=_quantile(self._ttft_s, 0.99),
            stream_p50_s=_quantile(self._stream_s, 0.5),
            dialled=sum(pool.dialled for pool in self._pools.values()),
            reused=sum(pool.reused for pool in self._pools.values()),
            failures=self._failures,
        )


def _quantile(values: list[float], share: float) -> float:
    return round(sorted(values)[int(share * (len(values) - 1))], 3) if values else 0.0


async def _until_told(asked: Asked, rate_per_s: float, seed: int) -> Report:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def ended() -> None:
        loop.remove_reader(sys.stdin.fileno())
        stop.set()

    loop.add_reader(sys.stdin.fileno(), ended)
    load = Load(asked, rate_per_s, seed)
    running = loop.create_task(load.run(stop))
    try:
        async with asyncio.timeout(START_S):
            await load.well.wait()
    except TimeoutError:
        stop.set()
        running.cancel()
        raise TimeoutError(f"no good answer in {START_S:.0f} s: {load.so_far()}") from None
    print("started", flush=True)
    return await running


def main() -> None:
    """Run until standard input ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("model")
    parser.add_argument("--rate", type=float, default=200.0, metavar="PER_S")
    parser.add_argument("--tokens", type=int, default=16, metavar="N", help="of each answer")
    parser.add_argument(
        "--same", type=int, default=0, metavar="N", help="one prompt of so many letters for all"
    )
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    asked = Asked(args.host, args.port, args.model, args.tokens, args.same)
    try:
        report = uvloop.run(_until_told(asked, args.rate, args.seed))
    except TimeoutError as error:
        sys.exit(str(error))
    print(msgspec.json.encode(report).decode(), flush=True)


if __name__ == "__main__":
    main()
