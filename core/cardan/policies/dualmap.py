"""DualMap: few candidates by hash, one choice by predicted time to first token.

Yuan et al., "DualMap" (ICLR 2026, arXiv 2602.06502). A prefix key has `d` candidates that follow
from the key and the membership alone (`cardan.candidates`), but for keys that the controller has
moved (`cardan.overlay`), so a prefix is cached in few places and any number of gateways agree on
which; how much of a prompt the key covers follows from how hot its
prefix is (`cardan.depth`). Among the candidates:

1. Equal reuse: the least predicted time to first token.
2. The warm one (most reuse) if its prediction fits the budget, theta SLO less what was waited.
3. Otherwise as `mode` says:
   - `free`: like `stick`, with the freedom that a hash does not give (`cardan.freedom`): a
     prompt that nobody holds looks at `first_sample` others, too; what is held elsewhere is found;
     who leaves the warm one must gain `switch_gain` times what it recomputes; and a prompt that is
     late wherever it goes waits where it is late already;
   - `stick`: another candidate only if *that one fits*; else stay, because past saturation reuse is
     the last thing to give up;
   - `paper`: the least predicted time, whether it fits or not;
   - `spill`: like `stick`, but before staying, an endpoint outside that fits and gains more than
     the reuse lost, for at most `spill_share` of the requests;
   - `ordered`: no reuse at all: the first candidate in hash order that fits, else the head. A guard
     against collapse for gateways that know no cache, not a default.

What each is worth: docs/explanation/routing.md.

The paper's ablations choose within the same pair by one half of the rule, for comparison alone:
`affinity` the most reuse, hot blocks included; `least-loaded` the fewest prompt tokens that wait;
`min-ttft` the least predicted time. The first two break ties by the fewest prompt tokens of running
requests. `paper` with requests sent at once is its "SLO rule only"; its full scheduler also holds
waiting requests and moves them.

"Fits" is tested with the prediction that four of five requests keep (`Speed.cautious_s`).

An endpoint that drains gets no new prefix. It still wins where it holds strictly more of this very
prompt than every candidate does, and fits.

A prompt that is not known (no chain) goes to the lesser of two random endpoints.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.candidates import AnyMapping, Rendezvous
from cardan.decision import Candidate, Decision, MovedDecision, Reason
from cardan.depth import DepthConfig, DepthController
from cardan.estimate import estimate
from cardan.freedom import FreeChoice, holders
from cardan.policies.base import Chooser, Needs, PolicyBase
from cardan.scoring import least, running_tokens, unanswered_prompt_tokens
from cardan.soonest import fits, soonest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView

# How many spills may come at once after a calm.
SPILL_BURST = 10.0


class Mode(enum.StrEnum):
    """What to do when the warm candidate misses the budget, or what to do instead of all that."""

    PAPER = "paper"
    FREE = "free"
    STICK = "stick"
    SPILL = "spill"
    ORDERED = "ordered"
    AFFINITY = "affinity"
    LEAST_LOADED = "least-loaded"
    MIN_TTFT = "min-ttft"


# Those that do not weigh reuse against the budget.
PLAIN_MODES = frozenset({Mode.ORDERED, Mode.AFFINITY, Mode.LEAST_LOADED, Mode.MIN_TTFT})


class DualMap(PolicyBase, tag="dualmap", frozen=True):
    """Candidates by the prefix's hash, the choice by predicted time to first token.

    `theta` is the share of a request's SLO that its prediction may use (0.5 in the paper's code;
    between 0.25 and 1 hardly matters). `d` is the number of candidates: 2 is the paper's, 3 hides
    stale metrics a little better. `spill_sample` endpoints outside are looked at, and a spill must
    gain more than its recomputed prefix costs over `spill_amortization` requests.

    Of `free`: with `first_sample` 0 a prompt that nobody holds stays within its candidates. A late
    one waits for at most `late_slos` times its SLO where others are late; 0 keeps the late apart,
    which makes more requests late, and each less. `switch_gain` is in seconds gained for a second
    recomputed.
    """

    mode: Mode = Mode.FREE
    d: Annotated[int, msgspec.Meta(ge=1, le=16)] = 2
    theta: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.5
    mapping: AnyMapping = Rendezvous()
    depth: DepthConfig = DepthConfig()
    spill_share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.05
    spill_sample: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    spill_amortization: Annotated[float, msgspec.Meta(ge=1.0)] = 1.0
    first_sample: Annotated[int, msgspec.Meta(ge=0, le=64)] = 16
    switch_gain: Annotated[float, msgspec.Meta(ge=0.0)] = 4.0
    late_slos: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0

    def needs(self) -> Needs:
        """The prompt for the key, the engines' word on what others have sent them."""
        return Needs.PROMPT | Needs.ENGINE_METRICS

    def bind(self) -> Chooser:
        """A chooser that has seen no prefix yet."""
        return _Chooser(self)


class _Chooser:
    __slots__ = ("_config", "_depth", "_is_plain", "_mapping", "_spills")

    def __init__(self, config: DualMap) -> None:
        self._config = config
        self._depth = DepthController(config.depth)
        self._is_plain = config.mode in PLAIN_MODES
        self._mapping = config.mapping.bind()
        self._spills = 0.0

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Random,
    ) -> Decision:
        chain = request.prompt.chain
        if not chain:
            return _two_random(request, eligible, now, rng)
        mode = self._config.mode
        self._spills = min(SPILL_BURST, self._spills + self._config.spill_share)
        depth = self._depth.observe(chain, len(pool.routable), now)
        key = chain[depth - 1]
        states, decided = self._candidates(key, pool, eligible)
        matched, candidates = _look(states, request, now)
        # A key that the controller has moved goes where the controller says.
        is_free = mode is Mode.FREE and decided is Decision and len(eligible) > 1
        if is_free and max(matched) < depth:
            held = holders(key, eligible, rng)
            if held:
                matched, candidates = _look([*states, *held], request, now)
        budget_s = self._config.theta * request.slo_ttft_s - (now - request.arrived_at)
        if pool.draining and eligible is pool.routable:
            warmer = _draining(request, pool, max(matched), budget_s, now)
            if warmer is not None:
                return decided(warmer, (*candidates, warmer), Reason.DRAINING_WARM, key, depth)
        own = _own(matched, depth)
        if is_free:
            choice = FreeChoice(request, candidates, own, now, rng)
            chosen, reason = self._freely(choice, own, eligible, budget_s)
        elif len(candidates) == 1:
            chosen, reason = candidates[0], Reason.ONLY if len(eligible) == 1 else Reason.WARM
        else:
            chosen, reason = self._select(candidates, matched, own, budget_s, now, rng)
        if reason is Reason.HOPELESS and mode is Mode.SPILL:
            spilled = self._spill(request, candidates, chosen, eligible, budget_s, now, rng)
            if spilled is not None:
                chosen, reason = spilled, Reason.SPILL
        return decided(chosen, candidates, reason, key, depth)

    def owners(self, key: int, pool: Pool) -> list[EndpointState]:
        """See `cardan.policies.base.Owning`."""
        d = self._config.d
        states = self._mapping.pick(key, pool.routable, d, pool.version)
        return states if pool.moved is None else pool.moved.candidates(key, states, d, None)

    def _candidates(
        self, key: int, pool: Pool, eligible: Sequence[EndpointState]
    ) -> tuple[list[EndpointState], type[Decision]]:
        """A key's candidates among those that may be asked, and whether they are moved ones."""
        # A part of the pool is this request's own business: nothing of it may be remembered.
        is_whole = eligible is pool.routable
        d = self._config.d
        hashed = self._mapping.pick(key, eligible, d, pool.version if is_whole else None)
        if pool.moved is None:
            return hashed, Decision
        states = pool.moved.candidates(key, hashed, d, None if is_whole else eligible)
        return states, Decision if states is hashed else MovedDecision

    def _freely(
        self,
        choice: FreeChoice,
        own: list[int],
        eligible: Sequence[EndpointState],
        budget_s: float,
    ) -> tuple[Candidate, Reason]:
        """The rule of mode `free`."""
        config = self._config
        if max(own):
            return choice.warm(budget_s, config.switch_gain)
        return choice.first_turn(eligible, config.first_sample, config.late_slos)

    def _select(
        self,
        candidates: tuple[Candidate, ...],
        matched: list[int],
        own: list[int],
        budget_s: float,
        now: Monotonic,
        rng: Random,
    ) -> tuple[Candidate, Reason]:
        """The rule among the candidates, of which each holds so many blocks of the prompt."""
        if self._is_plain:
            return self._select_plainly(candidates, matched, budget_s, now, rng)
        most = max(own)
        if min(own) == most:
            return soonest(candidates, rng), Reason.TIE
        if own.count(most) == 1:
            warm = candidates[own.index(most)]
        else:
            warm = soonest(
                [c for c, held in zip(candidates, own, strict=True) if held == most], rng
            )
        if fits(warm, budget_s):
            return warm, Reason.WARM
        if self._config.mode is Mode.PAPER:
            least = soonest(candidates, rng)
            return least, Reason.SWITCH if fits(least, budget_s) else Reason.LEAST_TTFT
        other = soonest([candidate for candidate in candidates if candidate is not warm], rng)
        if fits(other, budget_s):
            return other, Reason.SWITCH
        return warm, Reason.HOPELESS

    def _select_plainly(
        self,
        candidates: tuple[Candidate, ...],
        matched: list[int],
        budget_s: float,
        now: Monotonic,
        rng: Random,
    ) -> tuple[Candidate, Reason]:
        """One thing alone decides: order, reuse, load or time. Ties as the paper's code has it."""
        mode = self._config.mode
        if mode is Mode.ORDERED:
            return _first_that_fits(candidates, budget_s)
        if mode is Mode.MIN_TTFT:
            return soonest(candidates, rng), Reason.LEAST_TTFT
        if mode is Mode.LEAST_LOADED:
            pending = [unanswered_prompt_tokens(one.endpoint, now) for one in candidates]
            tied = [
                one for one, its in zip(candidates, pending, strict=True) if its == min(pending)
            ]
            reason = Reason.POLICY
        else:
            most = max(matched)
            tied = [one for one, held in zip(candidates, matched, strict=True) if held == most]
            reason = Reason.AFFINITY
        return least(tied, lambda one: running_tokens(one.endpoint), rng), reason

    def _spill(
        self,
        request: RequestView,
        candidates: tuple[Candidate, ...],
        warm: Candidate,
        eligible: Sequence[EndpointState],
        budget_s: float,
        now: Monotonic,
        rng: Random,
    ) -> Candidate | None:
        """An endpoint outside that fits and gains more than it recomputes; None if there is none.

        A few random ones are looked at, not all: the least loaded of eight is within the idlest
        eighth half the time and more, and a herd of gateways does not run to one endpoint.
        """
        if self._spills < 1.0:
            return None
        taken = [candidate.endpoint for candidate in candidates]
        sample = rng.sample(eligible, min(self._config.spill_sample, len(eligible)))
        outside = [estimate(state, request, now) for state in sample if state not in taken]
        if not outside:
            return None
        best = soonest(outside, rng)
        speed = best.endpoint.speed
        lost = max(0.0, warm.hit_tokens - best.hit_tokens)
        cost_s = lost / speed.rate_tokens_per_s() / self._config.spill_amortization
        if not fits(best, budget_s) or warm.ttft_s - best.ttft_s <= cost_s:
            return None
        self._spills -= 1.0
        return best


def _look(
    states: list[EndpointState], request: RequestView, now: Monotonic
) -> tuple[list[int], tuple[Candidate, ...]]:
    """How many blocks of the prompt each holds, and what is predicted for each."""
    chain = request.prompt.chain
    matched, candidates = [], []
    for state in states:
        held = state.shadow.match(chain)
        matched.append(held)
        candidates.append(estimate(state, request, now, held))
    return matched, tuple(candidates)


def _own(matched: list[int], depth: int) -> list[int]:
    """Held blocks that count as affinity: from the key's last on.

    Those before are hot: everybody who serves many of their prompts holds them. Counted as
    affinity, they would starve an endpoint that has missed the first burst for ever.
    """
    if depth == 1:
        return matched
    return [max(0, held - depth + 1) for held in matched]


def _first_that_fits(
    candidates: tuple[Candidate, ...], budget_s: float
) -> tuple[Candidate, Reason]:
    for candidate in candidates:
        if fits(candidate, budget_s):
            return candidate, Reason.ORDERED
    return candidates[0], Reason.HOPELESS


def _two_random(
    request: RequestView, eligible: Sequence[EndpointState], now: Monotonic, rng: Random
) -> Decision:
    pair = rng.sample(eligible, min(2, len(eligible)))
    candidates = tuple(estimate(state, request, now) for state in pair)
    reason = Reason.ONLY if len(eligible) == 1 else Reason.LEAST_TTFT
    return Decision(soonest(candidates, rng), candidates, reason)


def _draining(
    request: RequestView, pool: Pool, most: int, budget_s: float, now: Monotonic
) -> Candidate | None:
    """The draining endpoint that holds strictly more than `most` blocks and fits, if any."""
    chain = request.prompt.chain
    best: Candidate | None = None
    for state in pool.draining:
        held = state.shadow.match(chain)
        if held > most:
            candidate = estimate(state, request, now, held)
            if fits(candidate, budget_s):
                best, most = candidate, held
    return best
