"""How an engine schedules: continuous batching over a paged prefix cache.

Time is cut in steps, one forward pass each. Before a step the scheduler hands out a token budget:

1. every running request gets what it still needs: one token if it decodes, as much of its prompt
   as the budget allows if it does not (chunked prefill). A request that needs a block when none
   is left takes it from the one that came last, which goes back to the queue and will compute
   its context again (preemption);
2. then the queue is admitted from its head, while the budget, the slots and the blocks last.
   Admission looks the prompt up in the prefix cache and starts behind what it finds, but always
   recomputes at least the last token, since its output is what samples the next one.

The step takes what `costs` says. When it is over, every request whose context is complete has one
new token, and blocks that became full get their names in the cache.

The engine has no clock. Callers pass `now`, in seconds of any origin, never backwards; ask
`next_event_at` when to call again; and get from `advance` all that happened up to then. A caller
that comes late gets the same events as one that comes on time, so an HTTP server on a busy loop
and a discrete-event simulation run the same engine.
"""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cardan_sim.engine.blocks import BlockCache
from cardan_sim.engine.request import Ended, EndReason, Event, Load, Refusal, Request, Token
from cardan_sim.engine.sequence import Sequence
from cardan_sim.engine.stats import Stats
from cardan_sim.engine.tokens import Vocabulary

if TYPE_CHECKING:
    from cardan_sim.engine.spec import EngineSpec


@dataclass(slots=True)
class Step:
    """A forward pass under way: who computes how many tokens in it."""

    work: list[tuple[Sequence, int]] = field(default_factory=list)
    budget: int = 0
    has_prefill: bool = False
    preempted: bool = False
    ends_at: float = 0.0

    def give(self, sequence: Sequence, tokens: int, *, counts: bool) -> None:
        """A share for a request; `counts` against the budget or not."""
        self.work.append((sequence, tokens))
        self.has_prefill |= not sequence.decoding
        if counts:
            self.budget -= tokens


class Engine:
    """One simulated engine."""

    def __init__(self, spec: EngineSpec, seed: int = 0) -> None:
        """An idle engine; `seed` chooses the words it says, nothing else."""
        self.spec: Final = spec
        self.vocabulary: Final = Vocabulary(spec.vocab_size)
        self.stats: Final = Stats(spec.make)
        self.cache: Final = BlockCache(spec.kv_blocks)
        self.prefill_factor = 1.0
        self.draining = False
        self._seed: Final = seed
        self._serial = 0
        self._waiting: list[Sequence] = []
        self._running: list[Sequence] = []
        self._live: dict[str, Sequence] = {}
        self._step: Step | None = None
        self._ready_at = 0.0
        self._events: list[Event] = []
        self._decode_steps = 0
        self._gauges = self._loads = self.load(0.0)

    @property
    def running(self) -> int:
        """Requests that hold a slot."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Nothing is running, waiting or about to be told."""
        return not (self._live or self._events)

    @property
    def gauges(self) -> Load:
        """The load as last exported to `/metrics`: some makes lag, see Habits."""
        return self._gauges if self.spec.habits.gauge_steps else self.load(self._gauges.at)

    @property
    def loads(self) -> Load:
        """The load as the make's cheap load endpoint tells it: one forward pass late or more."""
        return self._loads if self.spec.habits.load_steps else self.load(self._loads.at)

    def submit(self, request: Request, now: float) -> None:
        """Queue a request, or refuse it: the refusal is an event like any other.

        ValueError for an id that is still alive or an empty prompt.
        """
        self._catch_up(now, starting=False)
        if request.id in self._live:
            raise ValueError(f"request {request.id!r} is alive already")
        if not request.prompt:
            raise ValueError("a prompt has at least one token")
        refusal = self._refusal(request)
        if refusal is not None:
            self.stats.refused += 1
            tokens = len(request.prompt)
            self._events.append(Ended(request.id, "refused", now, tokens, 0, 0, refusal))
            return
        sequence = Sequence(request, self.spec, self._serial, now, self._seed)
        self._serial += 1
        self._live[request.id] = sequence
        if not self._waiting and not self._running and self._step is None:
            self._ready_at = now
        insort(self._waiting, sequence)
        self._shed(now)

    def abort(self, request_id: str, now: float) -> bool:
        """End a request; False if it is not alive (any more).

        One that is being computed ends with the step, since a forward pass cannot be left.
        """
        self._catch_up(now, starting=False)
        sequence = self._live.get(request_id)
        if sequence is None:
            return False
        if self._is_computed(sequence):
            sequence.aborted = True
        else:
            self._end(sequence, "abort", now)
        return True

    def _is_computed(self, sequence: Sequence) -> bool:
        """Whether it has a share in the step under way."""
        return self._step is not None and any(sequence is s for s, _ in self._step.work)

    def drain(self) -> None:
        """Refuse what comes from now on; what is alive goes on to its end."""
        self.draining = True

    def reset_cache(self) -> None:
        """Forget every cached block that nobody holds."""
        self.cache.clear()

    def next_event_at(self) -> float | None:
        """When `advance` has something to do next; None while nothing is under way."""
        if self._events:
            return self._events[0].at
        if self._step is not None:
            return self._step.ends_at
        return self._ready_at if self._waiting or self._running else None

    def advance(self, now: float) -> list[Event]:
        """Everything that happened up to `now`, in order."""
        self._catch_up(now, starting=True)
        events, self._events = self._events, []
        return events

    def load(self, now: float) -> Load:
        """The load as it is."""
        block = self.spec.block_size
        cached = self.stats.prompt_cached
        return Load(
            at=now,
            running=len(self._running),
            decoding=sum(s.decoding for s in self._running),
            waiting=len(self._waiting),
            waiting_uncached=sum(
                s.total - block * self.cache.match(s.names) for s in self._waiting
            ),
            used_blocks=self.cache.used,
            idle_blocks=self.cache.idle,
            context=sum(s.total for s in self._running),
            throughput=self.stats.generated / self.stats.busy_s if self.stats.busy_s else 0.0,
            hit_ratio=cached / self.stats.prompt_queried if cached else 0.0,
        )

    def _refusal(self, request: Request) -> Refusal | None:
        if self.draining:
            return "draining"
        if len(request.prompt) >= self.spec.room + (request.max_output == 0):
            return "too long"
        if self._can_evict() or len(self._waiting) < self._queue_room():
            return None
        return "queue full"

    def _queue_room(self) -> float:
        """How many may wait: those the limit allows and those whose slot is free already."""
        limit = self.spec.max_queued
        if limit is None:
            return math.inf
        return limit + max(0, self.spec.max_num_seqs - len(self._running))

    def _can_evict(self) -> bool:
        return self.spec.priority_scheduling and self.spec.habits.full_queue_evicts

    def _shed(self, now: float) -> None:
        """With priorities a full queue throws out its worst request, perhaps the newcomer."""
        if not self._can_evict():
            return
        while len(self._waiting) > self._queue_room():
            self.stats.evicted_from_queue += 1
            self._end(self._waiting[-1], "refused", now, "queue full")

    def _catch_up(self, now: float, *, starting: bool) -> None:
        """Run all steps that end by `now`; a step at exactly `now` starts only if `starting`.

        So requests that arrive at one instant share the step that starts then.
        """
        while True:
            if self._step is not None:
                if self._step.ends_at > now:
                    return
                self._finish(self._step)
            if not (self._waiting or self._running):
                return
            if self._ready_at > now or (self._ready_at == now and not starting):
                return
            self._start(self._ready_at)

    def _start(self, now: float) -> None:
        step = Step(budget=self.spec.max_num_batched_tokens)
        self._continue_running(step)
        if not step.preempted:
            self._admit(step, now)
        self._launch(step, now)

    def _launch(self, step: Step, now: float) -> None:
        """The forward pass begins."""
        spec = self.spec
        if step.has_prefill and not spec.habits.mixed_batches:
            step.work = [(s, n) for s, n in step.work if not s.decoding]
        duration = self._duration_s(step) * spec.time_scale
        step.ends_at = now + duration
        self.stats.steps += 1
        self.stats.busy_s += duration
        self.stats.prefill_busy_s += duration if step.has_prefill else 0.0
        self._step = step

    def _continue_running(self, step: Step) -> None:
        """Give running requests their share; the last come are preempted when blocks run out."""
        mixed = self.spec.habits.mixed_batches
        index = 0
        while index < len(self._running):
            sequence = self._running[index]
            index += 1
            tokens = sequence.pending if sequence.decoding else min(sequence.pending, step.budget)
            if not tokens or (sequence.decoding and mixed and step.budget < 1):
                continue
            while not self.cache.take(need := sequence.missing_blocks(tokens)):
                step.preempted = True
                if self._preempt() is sequence:
                    return
            sequence.private += need
            step.give(sequence, tokens, counts=mixed or not sequence.decoding)

    def _preempt(self) -> Sequence:
        """Send the running request that came last back to the queue, its blocks freed."""
        victim = self._running.pop()
        self.cache.release(victim.held, victim.private)
        victim.restart()
        insort(self._waiting, victim)
        self.stats.preemptions += 1
        return victim

    def _admit(self, step: Step, now: float) -> None:
        """Admit from the head of the queue while budget, slots and blocks last."""
        cache, spec = self.cache, self.spec
        while self._waiting and step.budget > 0 and len(self._running) < spec.max_num_seqs:
            sequence = self._waiting[0]
            reusable = sequence.names[: (sequence.total - 1) // spec.block_size]
            found = reusable[: cache.match(reusable)]
            cached = len(found) * spec.block_size
            tokens = min(sequence.total - cached, step.budget)
            need = sequence.blocks_for(cached + tokens) - len(found)
            if need > cache.available - cache.idle_among(found):
                return
            del self._waiting[0]
            cache.hold(found)
            cache.take(need)
            if sequence.first_scheduled_at is None:
                self._count_admission(sequence, cached, now)
            sequence.admit(found, need, now)
            insort(self._running, sequence)
            step.give(sequence, tokens, counts=True)

    def _count_admission(self, sequence: Sequence, cached: int, now: float) -> None:
        sequence.cached = cached
        stats, streamed = self.stats, sequence.request.streamed
        stats.prompt_queried += sequence.prompt
        stats.prompt_cached += cached
        stats.observe("queue_s", now - sequence.arrived_at, streamed=streamed)

    def _duration_s(self, step: Step) -> float:
        prefill_s, decodes, context = self._work_of(step)
        return self.spec.cost.step_s(prefill_s * self.prefill_factor, decodes, context)

    def _work_of(self, step: Step) -> tuple[float, int, int]:
        """Seconds of prompt arithmetic, sequences that decode, and their context in tokens."""
        cost = self.spec.cost
        prefill_s, decodes, context = 0.0, 0, 0
        for sequence, tokens in step.work:
            if sequence.decoding:
                decodes += 1
                context += sequence.total
            else:
                prefill_s += cost.prefill_s(tokens, sequence.computed + tokens)
        return prefill_s, decodes, context

    def _finish(self, step: Step) -> None:
        now = step.ends_at
        self._step = None
        self._ready_at = now
        for sequence, tokens in step.work:
            self._compute(sequence, tokens, now)
        self.stats.observe("step_tokens", sum(n for _, n in step.work))
        self._decode_steps += not step.has_prefill
        self._refresh(step, now)

    def _compute(self, sequence: Sequence, tokens: int, now: float) -> None:
        """A request's share of a step is done: its blocks are named, its token is sampled."""
        if sequence.aborted:
            self._end(sequence, "abort", now)
            return
        if not sequence.decoding:
            self.stats.prompt_computed += tokens
        sequence.computed += tokens
        sequence.name_blocks(self.cache, live=self.spec.habits.keeps_decoded_live)
        if sequence.pending:
            return
        if sequence.wanted:
            self._say(sequence, now)
        if sequence.generated >= sequence.wanted:
            self._end(sequence, sequence.request.ends_with, now)

    def _say(self, sequence: Sequence, now: float) -> None:
        """Sample one token."""
        stats, streamed = self.stats, sequence.request.streamed
        if sequence.last_token_at is None:
            stats.observe("ttft_s", now - sequence.arrived_at, streamed=streamed)
            sequence.first_token_at = now
        else:
            stats.observe("itl_s", now - sequence.last_token_at, streamed=streamed)
        sequence.last_token_at = now
        stats.generated += 1
        token_id = sequence.sample(self.vocabulary.sayable)
        self._tell(sequence, token_id, now)

    def _tell(self, sequence: Sequence, token_id: int, now: float) -> None:
        """A token is news."""
        self._events.append(Token(sequence.request.id, sequence.generated, token_id, now))

    def _end(
        self, sequence: Sequence, reason: EndReason, now: float, refusal: Refusal | None = None
    ) -> None:
        """Take a request out of wherever it is, free its blocks and tell its end."""
        if sequence.scheduled:
            self._running.remove(sequence)
            sequence.name_blocks(self.cache, live=True)
            self.cache.release(sequence.held, sequence.private)
        else:
            self._waiting.remove(sequence)
        del self._live[sequence.request.id]
        self.stats.finished[reason] += 1
        if reason in ("length", "stop"):
            sequence.observe(self.stats, now)
        self._events.append(
            Ended(
                sequence.request.id,
                reason,
                now,
                sequence.prompt,
                sequence.cached,
                sequence.generated,
                refusal,
            )
        )

    def _refresh(self, step: Step, now: float) -> None:
        """Export the load, as seldom as the make does; an engine that falls idle always does."""
        always = step.has_prefill or not self._live
        gauges = self._due(self.spec.habits.gauge_steps, always=always)
        loads = self._due(self.spec.habits.load_steps, always=always)
        if gauges or loads:
            load = self.load(now)
            self._gauges = load if gauges else self._gauges
            self._loads = load if loads else self._loads

    def _due(self, every_steps: int, *, always: bool) -> bool:
        return bool(every_steps) and (always or self._decode_steps % every_steps == 0)
