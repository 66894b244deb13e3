"""The open loop: every request leaves at its time, however many are still under way."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cardan_sim.replay.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan_sim.replay.client import ReplayClient
    from cardan_sim.traces import PromptWriter, TraceRequest, WireRequest


@dataclass(slots=True)
class Tally:
    """How far a replay has come; a display may read it at any time."""

    planned: int
    sent: int = 0
    answering: int = 0
    ended: int = 0
    failed: int = 0
    first_tokens: int = 0
    ttft_sum_s: float = 0.0

    @property
    def in_flight(self) -> int:
        """Requests sent and not ended."""
        return self.sent - self.ended

    @property
    def mean_ttft_s(self) -> float | None:
        """Mean TTFT so far, of the requests that ended."""
        return self.ttft_sum_s / self.first_tokens if self.first_tokens else None


@dataclass(slots=True)
class Outcome:
    """What a replay saw: one sample for each request that ended, in order of their times.

    `unfinished` were under way, and `unsent` not yet due, when the replay was stopped.
    """

    samples: list[Sample] = field(default_factory=list)
    unfinished: int = 0
    unsent: int = 0


class OpenLoop:
    """One replay of a schedule of requests through a client."""

    def __init__(
        self,
        client: ReplayClient,
        writer: PromptWriter,
        requests: Sequence[TraceRequest],
        due_s: Sequence[float],
    ) -> None:
        """`due_s` are the times of the requests, in seconds after the start."""
        self.tally = Tally(len(requests))
        self._client = client
        self._writer = writer
        self._plan = list(zip(requests, due_s, strict=True))
        self._ended: list[Sample] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, stop: asyncio.Event) -> Outcome:
        """Play to the end, or until `stop` is set; then cancel what is under way.

        Being cancelled oneself cancels the requests too.
        """
        stopping = asyncio.create_task(stop.wait())
        try:
            sent = await self._send_all(stopping)
            await self._wait_for_all(stopping)
        finally:
            unfinished = await self._cancel_all()
            stopping.cancel()
        self._ended.sort(key=lambda sample: sample.due_s)
        return Outcome(self._ended, unfinished, len(self._plan) - sent)

    async def _send_all(self, stopping: asyncio.Task[bool]) -> int:
        origin_s = time.perf_counter()
        for sent, (request, due_s) in enumerate(self._plan):
            wire = self._writer.write(request)
            # Only the wait is skipped when late: a stop must still be noticed.
            delay_s = max(0.0, origin_s + due_s - time.perf_counter())
            await asyncio.wait([stopping], timeout=delay_s)
            if stopping.done():
                return sent
            sample = Sample(due_s, sent_s=time.perf_counter() - origin_s)
            self.tally.sent += 1
            task = asyncio.create_task(self._send(wire, sample, origin_s))
            self._tasks.append(task)
        return len(self._plan)

    async def _send(self, wire: WireRequest, sample: Sample, origin_s: float) -> None:
        await self._client.send(wire, sample, origin_s=origin_s, on_first=self._answering)
        self._ended.append(sample)
        self._count(sample)

    def _answering(self) -> None:
        self.tally.answering += 1

    def _count(self, sample: Sample) -> None:
        tally = self.tally
        tally.ended += 1
        tally.failed += sample.error is not None
        if sample.ttft_s is not None:
            tally.answering -= 1
            tally.first_tokens += 1
            tally.ttft_sum_s += sample.ttft_s

    async def _wait_for_all(self, stopping: asyncio.Task[bool]) -> None:
        everybody = asyncio.gather(*self._tasks, return_exceptions=True)
        either: list[asyncio.Future[Any]] = [everybody, stopping]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)

    async def _cancel_all(self) -> int:
        """Cancel what is under way and count it; a fault of our own is raised, not counted."""
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        faults = [r for r in results if isinstance(r, Exception)]
        if faults:
            raise faults[0]
        return sum(isinstance(result, asyncio.CancelledError) for result in results)
