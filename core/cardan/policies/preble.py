"""Preble's E2: exploit a cached prefix where most of a prompt is cached, else explore by cost.

Srivatsa et al., "Preble: Efficient Distributed Prompt Scheduling for LLM Serving" (ICLR 2025, arXiv
2407.00023; WukLab/preble). For a prompt of which endpoint i holds hit_i tokens:

- *Exploit*, if the longest hit is more than half of the prompt: of the endpoints with that hit, the
  one with the least cost.
- *Explore* otherwise: of all endpoints, the one with the least cost

      cost_i = L_i + M_i + P_i    in seconds of prefill
      L_i  what was assigned to i within `window_s` (3 minutes)
      M_i  what evicting for this prompt would cost: its victims' blocks, each as often as it was
           used in the window
      P_i  computing what i does not hold of the prompt

After assignment, once the fleet has seen 50 requests for each endpoint:

- *Load shift*: if the heaviest L is over `shift_ratio` (1.5) times the lightest, prompts that would
  be exploited on the heaviest go to the lightest until it is not.
- *Replication*: a prefix whose time to first token at an endpoint in the later half of the window
  is at least `replicate_ratio` (2) times that of the earlier half goes once to the lightest, which
  holds it from then on.

A prompt counts as cached where it is sent, at once.

What differs. Preble fits prefill times offline and adds decode time (active requests, mean output
length, time per token); here rates are learned (`cardan.speed`) and L is prefill alone, because a
policy does not see answers end. For the same reason replication watches predicted times to first
token. Preble's radix tree names a prefix by a node; here the block in the middle of a prompt does,
which for a shared prompt that makes up more than half is one of few. The released code has a ratio
of 15 where the paper has its threshold; 1.5 is what others measured with (DualMap's port).
In-engine priorities are the engine's.

Memory: each endpoint's map is as large as its cache, L is 36 numbers an endpoint, and each half of
the window counts at most `MAX_COUNTED` blocks and as many prefixes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.decision import Decision, Reason
from cardan.estimate import BYTES_PER_TOKEN, estimate
from cardan.policies.base import Chooser, Needs, PolicyBase
from cardan.routed import RoutedPrefixes
from cardan.scoring import least
from cardan.shadow import BATCH_SHARE, KEPT_BITS
from cardan.speed import work_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.decision import Candidate
    from cardan.endpoint import EndpointId
    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView

# "After at least 50 requests" in the released code, which ran on a few GPUs: for each of them.
SETTLED_REQUESTS = 50
# A window in steps of a thirty-sixth, 5 s of 3 min: forgetting is that late at most.
STEPS = 36
# A minute and a half of 1,000 new blocks a second; then the rest counts as used once.
MAX_COUNTED = 100_000


class Preble(PolicyBase, tag="preble", frozen=True):
    """Preble's exploitation and exploration, with load shift and replication."""

    window_s: Annotated[float, msgspec.Meta(gt=0.0, le=86_400.0)] = 180.0
    shift_ratio: Annotated[float, msgspec.Meta(ge=1.0, le=1000.0)] = 1.5
    replicate_ratio: Annotated[float, msgspec.Meta(ge=1.0, le=1000.0)] = 2.0

    def needs(self) -> Needs:
        """The prompt, to match it."""
        return Needs.PROMPT

    def bind(self) -> Chooser:
        """A chooser that has assigned nothing yet."""
        return _Chooser(self)


class _Assigned:
    """Seconds of prefill assigned to one endpoint, by the step of the window."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: deque[tuple[int, float]] = deque()

    def add(self, seconds: float, step: int) -> None:
        if self._steps and self._steps[-1][0] == step:
            seconds += self._steps.pop()[1]
        self._steps.append((step, seconds))

    def within(self, step: int) -> float:
        """The sum over the window that ends with `step`; what is older is forgotten."""
        while self._steps and self._steps[0][0] <= step - STEPS:
            self._steps.popleft()
        return sum([seconds for _, seconds in self._steps])


class _Halves:
    """The two halves of the window: how often a block was used, and times to first token."""

    __slots__ = ("_earlier", "_half_s", "_later", "_ttfts", "_ttfts_earlier", "_until")

    def __init__(self, window_s: float) -> None:
        self._half_s = window_s / 2
        self._until: float | None = None
        self._earlier: dict[int, int] = {}
        self._later: dict[int, int] = {}
        self._ttfts_earlier: dict[tuple[int, EndpointId], tuple[float, int]] = {}
        self._ttfts: dict[tuple[int, EndpointId], tuple[float, int]] = {}

    def age(self, now: Monotonic) -> None:
        """Begin a new half when this one is over."""
        if self._until is None:
            self._until = now + self._half_s
        if now < self._until:
            return
        gap = now >= self._until + self._half_s
        self._earlier, self._later = ({} if gap else self._later), {}
        self._ttfts_earlier, self._ttfts = ({} if gap else self._ttfts), {}
        self._until = now + self._half_s

    def use(self, chain: Sequence[int]) -> None:
        """A prompt with these blocks was assigned."""
        counts = self._later
        for block in chain:
            kept = block & KEPT_BITS
            if kept in counts or len(counts) < MAX_COUNTED:
                counts[kept] = counts.get(kept, 0) + 1

    def uses(self, kept: int) -> int:
        """How often a block was used within the window."""
        return self._later.get(kept, 0) + self._earlier.get(kept, 0)

    def outgrows(self, prefix: int, endpoint: EndpointId, ttft_s: float, ratio: float) -> bool:
        """Note a time to first token: has its mean grown by `ratio` from half to half?

        If so it begins anew, as the prefix is to have another home.
        """
        key = prefix, endpoint
        total_s, count = self._ttfts.get(key, (0.0, 0))
        total_s, count = total_s + ttft_s, count + 1
        before_s, before = self._ttfts_earlier.get(key, (0.0, 0))
        if before and total_s / count >= ratio * before_s / before:
            self._ttfts.pop(key, None)
            del self._ttfts_earlier[key]
            return True
        if count > 1 or len(self._ttfts) < MAX_COUNTED:
            self._ttfts[key] = total_s, count
        return False


class _Option:
    """An endpoint with what E2 reads of it."""

    __slots__ = ("assigned_s", "is_mostly_held", "matched", "missed_s", "state")

    def __init__(
        self, state: EndpointState, matched: int, request: RequestView, assigned_s: float
    ) -> None:
        prompt = request.prompt
        tokens = prompt.tokens or request.body_bytes / BYTES_PER_TOKEN
        whole = matched > prompt.full_blocks
        hit = tokens if whole else min(tokens, matched * float(prompt.block_tokens))
        self.state = state
        self.matched = matched
        self.is_mostly_held = hit > tokens - hit
        self.missed_s = work_tokens(tokens - hit, tokens) / state.speed.rate_tokens_per_s()
        self.assigned_s = assigned_s


class _Chooser:
    __slots__ = ("_assigned", "_config", "_halves", "_index", "_requests", "_version")

    def __init__(self, config: Preble) -> None:
        self._config = config
        self._index = RoutedPrefixes()
        self._assigned: dict[EndpointId, _Assigned] = {}
        self._halves = _Halves(config.window_s)
        self._requests = 0
        self._version = -1

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Random,
    ) -> Decision:
        self._settle(pool)
        self._halves.age(now)
        self._requests += 1
        step = int(now / self._config.window_s * STEPS)
        options = [self._option(state, request, step) for state in eligible]
        option, reason = self._pick(request, options, rng)
        chosen = estimate(option.state, request, now)
        if reason is Reason.AFFINITY and self._is_too_hot(request.prompt.chain, chosen):
            option, reason = self._lightest(options, rng), Reason.BALANCE
            chosen = estimate(option.state, request, now)
        self._assign(request.prompt.chain, option, step)
        return Decision(chosen, (chosen,), reason)

    def _settle(self, pool: Pool) -> None:
        """Forget endpoints that have left."""
        self._index.settle(pool)
        if pool.version != self._version:
            members = {state.id for state in pool.members}
            self._assigned = {
                id_: assigned for id_, assigned in self._assigned.items() if id_ in members
            }
            self._version = pool.version

    def _option(self, state: EndpointState, request: RequestView, step: int) -> _Option:
        matched = self._index.match(state, request.prompt.chain)
        assigned = self._assigned.get(state.id)
        assigned_s = assigned.within(step) if assigned is not None else 0.0
        return _Option(state, matched, request, assigned_s)

    def _pick(
        self, request: RequestView, options: list[_Option], rng: Random
    ) -> tuple[_Option, Reason]:
        """E2, and the load shift after it."""
        longest = max(option.matched for option in options)
        holders = [option for option in options if option.matched == longest]
        if not holders[0].is_mostly_held:
            return least(options, lambda option: self._cost(option, request), rng), Reason.POLICY
        home = least(holders, lambda option: self._cost(option, request), rng)
        heaviest = max(option.assigned_s for option in options)
        lightest = self._lightest(options, rng)
        if (
            self._requests >= SETTLED_REQUESTS * len(options)
            and home.assigned_s == heaviest
            and heaviest > self._config.shift_ratio * lightest.assigned_s
        ):
            return lightest, Reason.BALANCE
        return home, Reason.AFFINITY

    def _cost(self, option: _Option, request: RequestView) -> float:
        return option.assigned_s + self._eviction_s(option, request) + option.missed_s

    def _eviction_s(self, option: _Option, request: RequestView) -> float:
        """Computing again what this prompt would push out, as often as it is asked for."""
        state, prompt = option.state, request.prompt
        shadow = self._index.of(state, state.shadow.capacity_blocks)
        # A map drops a batch at once; within that of full, an engine's cache is full.
        full = shadow.capacity_blocks - shadow.capacity_blocks // BATCH_SHARE
        needed = len(prompt.chain) - option.matched - max(0, full - len(shadow))
        if needed <= 0:
            return 0.0
        uses = sum([self._halves.uses(block) for block in shadow.oldest(needed)])
        return uses * prompt.block_tokens / state.speed.rate_tokens_per_s()

    def _is_too_hot(self, chain: Sequence[int], chosen: Candidate) -> bool:
        """Has the prompt's main prefix grown too hot for its endpoint?"""
        prefix = chain[(len(chain) - 1) // 2]
        ratio = self._config.replicate_ratio
        return self._halves.outgrows(prefix, chosen.endpoint.id, chosen.ttft_s, ratio)

    @staticmethod
    def _lightest(options: list[_Option], rng: Random) -> _Option:
        return least(options, lambda option: option.assigned_s, rng)

    def _assign(self, chain: Sequence[int], option: _Option, step: int) -> None:
        state = option.state
        assigned = self._assigned.get(state.id)
        if assigned is None:
            assigned = self._assigned[state.id] = _Assigned()
        assigned.add(option.missed_s, step)
        self._index.record(state, chain, state.shadow.capacity_blocks)
        self._halves.use(chain)
