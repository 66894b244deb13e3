"""The same engine for whoever wants no word of each token: of an answer its first and its end.

Steps are the same, and so are their durations, to the last bit: a law compares the two. What is
saved is looking at every request in every step. Those that decode are a `Formation`; while nobody
computes a prompt, steps are planned ahead until one of them ends or blocks run out, and whoever
comes meanwhile finds the step that is under way. Where order matters more than sums (a preemption
looms, an older request computes its prompt while younger ones decode), a step is done as
`Engine` does it.

Prompts are named (`NamedPrompt`); gauges are not kept, since nobody scrapes this engine over HTTP.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cardan_sim.engine.engine import Engine, Step
from cardan_sim.engine.formation import Formation
from cardan_sim.engine.prompts import NamedPrompt

if TYPE_CHECKING:
    from cardan_sim.engine.request import EndReason, Load, Refusal, Request
    from cardan_sim.engine.sequence import Sequence
    from cardan_sim.engine.spec import EngineSpec

# Steps planned at most at once, about a second of decoding: an arrival makes the rest void.
AHEAD: Final = 128


@dataclass(slots=True)
class Stretch(Step):
    """Steps in which the formation takes part (`stepping`); `ends` when each of them ends.

    More than one only where nobody else computes anything. `work` is what single requests do.
    """

    stepping: bool = False
    started_at: float = 0.0
    ends: list[float] = field(default_factory=list)


class QuietEngine(Engine):
    """An engine that tells first tokens and ends. `slowness` multiplies every step's duration."""

    def __init__(self, spec: EngineSpec, seed: int = 0) -> None:
        """An idle engine."""
        self._formation = Formation(spec.block_size)
        self._prefilling: list[Sequence] = []
        self._aborting: set[Sequence] = set()
        self._held_until = 0.0
        self.slowness = 1.0
        super().__init__(spec, seed)

    def submit(self, request: Request, now: float) -> None:
        """See `Engine`; TypeError for a prompt of token ids."""
        if not isinstance(request.prompt, NamedPrompt):
            raise TypeError("a quiet engine takes named prompts")
        super().submit(request, now)
        self._ready_at = max(self._ready_at, self._held_until)

    def hold(self, until: float, now: float) -> None:
        """Begin no step before `until`; the one under way ends."""
        self._catch_up(now, starting=False)
        self._held_until = until
        if self._step is None:
            self._ready_at = max(self._ready_at, until)

    def _catch_up(self, now: float, *, starting: bool) -> None:
        """A stretch that is looked at in its middle ends with the step under way then."""
        step = self._step
        if isinstance(step, Stretch) and step.ends_at > now and not starting:
            done = bisect_right(step.ends, now)
            if not done or step.ends[done - 1] < now:
                done += 1
            del step.ends[done:]
            step.ends_at = step.ends[-1]
        super()._catch_up(now, starting=starting)

    def _start(self, now: float) -> None:
        mixed = self.spec.habits.mixed_batches
        step = Stretch(budget=self.spec.max_num_batched_tokens, started_at=now)
        if mixed:
            step.budget -= len(self._formation)
        shares = self._shares(step.budget)
        if shares is None:
            self._dissolve()
            super()._start(now)
            return
        self._formation.take(self.cache)
        for sequence, tokens, need in shares:
            self.cache.take(need)
            sequence.private += need
            step.give(sequence, tokens, counts=mixed or not sequence.decoding)
        self._admit(step, now)
        for sequence, _ in step.work[len(shares) :]:
            insort(self._prefilling, sequence)
        step.stepping = len(self._formation) > 0 and (mixed or not step.has_prefill)
        self._launch(step, now)
        step.ends.append(step.ends_at)
        if step.stepping and not step.work:
            self._plan_ahead(step)

    def _shares(self, budget: int) -> list[tuple[Sequence, int, int]] | None:
        """What each request outside of the formation computes next, and the blocks it needs.

        None where it cannot be said so simply: somebody older than a member of the formation is
        among them, or the budget or the blocks do not reach for all.
        """
        formation, mixed = self._formation, self.spec.habits.mixed_batches
        last = formation.last
        if budget < 0 or (last is not None and any(s < last for s in self._prefilling)):
            return None
        shares = []
        needed = formation.due
        for sequence in self._prefilling:
            decoding = sequence.decoding
            tokens = sequence.pending if decoding else min(sequence.pending, budget)
            if not tokens or (decoding and mixed and budget < 1):
                continue
            need = sequence.missing_blocks(tokens)
            needed += need
            shares.append((sequence, tokens, need))
            if mixed or not decoding:
                budget -= tokens
        return shares if needed <= self.cache.available else None

    def _dissolve(self) -> None:
        """Everybody's numbers as `Engine` keeps them."""
        for sequence in self._formation.dissolve():
            sequence.name_blocks(self.cache, live=self.spec.habits.keeps_decoded_live)
        self._prefilling.clear()

    def _plan_ahead(self, step: Stretch) -> None:
        """Steps that follow while nobody ends and blocks last."""
        formation, cost = self._formation, self.spec.cost
        size, context = len(formation), formation.context
        scale = self.spec.time_scale
        available = self.cache.available
        at = step.ends_at
        for number in range(1, min(formation.next_end(), AHEAD)):
            available -= formation.needs(number)
            if available < 0:
                break
            context += size
            at += cost.step_s(0.0, size, context) * scale * self.slowness
            step.ends.append(at)
        step.ends_at = at

    def _work_of(self, step: Step) -> tuple[float, int, int]:
        prefill_s, decodes, context = super()._work_of(step)
        if isinstance(step, Stretch) and step.stepping:
            decodes += len(self._formation)
            context += self._formation.context
        return prefill_s, decodes, context

    def _duration_s(self, step: Step) -> float:
        return super()._duration_s(step) * self.slowness

    def _finish(self, step: Step) -> None:
        if not isinstance(step, Stretch):
            super()._finish(step)
            self._prefilling = [s for s in self._running if not self._joins(s)]
            self._ready_at = max(self._ready_at, self._held_until)
            return
        now = step.ends_at
        self._step = None
        self._ready_at = max(now, self._held_until)
        if step.stepping:
            self._finish_formation(step)
        for sequence, tokens in step.work:
            self._compute(sequence, tokens, now)
        if step.work:
            self._prefilling = [s for s in self._prefilling if not self._joins(s)]

    def _finish_formation(self, step: Stretch) -> None:
        """The formation has done the steps of a stretch: some of it may be over."""
        formation, now = self._formation, step.ends_at
        self._count(step)
        more = len(step.ends) - 1
        if more:
            self.cache.take(sum(formation.needs(number) for number in range(1, more + 1)))
        formation.step(len(step.ends), now)
        for sequence in formation.ending():
            if sequence.aborted:
                formation.leave(sequence, undone=1)
                self._end(sequence, "abort", now)
            else:
                formation.leave(sequence)
                self._end(sequence, sequence.request.ends_with, now)

    def _count(self, step: Stretch) -> None:
        """What `Engine` counts token by token."""
        stats, formation = self.stats, self._formation
        size, more = len(formation), len(step.ends) - 1
        stats.generated += size * (more + 1) - len(self._aborting)
        if more:
            stats.steps += more
            stats.busy_s += step.ends_at - step.ends[0]
        before, leaving = formation.last_at, set() if more else self._aborting
        fresh = [at for s, at in formation.fresh.items() if s not in leaving]
        for last_at in fresh:
            stats.observe("itl_s", step.ends[0] - last_at, streamed=True)
        self._gaps(step.ends[0] - before, size - len(leaving) - len(fresh))
        for number in range(1, more + 1):
            told = size if number < more else size - len(self._aborting)
            self._gaps(step.ends[number] - step.ends[number - 1], told)
        self._aborting.clear()

    def _gaps(self, gap_s: float, times: int) -> None:
        if times:
            self.stats.observe("itl_s", gap_s, streamed=True, times=times)

    def _joins(self, sequence: Sequence) -> bool:
        """Let a request that decodes join the formation; False if it does not decode."""
        if not sequence.decoding:
            return False
        self._formation.join(sequence)
        return True

    def _tell(self, sequence: Sequence, token_id: int, now: float) -> None:
        if sequence.generated == 1:
            super()._tell(sequence, token_id, now)

    def _is_computed(self, sequence: Sequence) -> bool:
        """Whether the step under way computes it; one of the formation then ends with the step."""
        step = self._step
        if sequence in self._formation and isinstance(step, Stretch):
            if step.stepping and not sequence.aborted:
                self._formation.end_early(sequence, len(step.ends))
                self._aborting.add(sequence)
            return step.stepping
        return super()._is_computed(sequence)

    def _end(
        self, sequence: Sequence, reason: EndReason, now: float, refusal: Refusal | None = None
    ) -> None:
        if sequence in self._formation:
            self._formation.leave(sequence)
        if sequence in self._prefilling:
            self._prefilling.remove(sequence)
        super()._end(sequence, reason, now, refusal)

    def _refresh(self, step: Step, now: float) -> None:
        """No gauges: nobody reads them."""

    def load(self, now: float) -> Load:
        """See `Engine`, as of the last step that was looked at."""
        load = super().load(now)
        formation = self._formation
        more = formation.context - sum(s.total for s in self._running if s in formation)
        return load._replace(context=load.context + more)
