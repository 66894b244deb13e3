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

After assignment, once there were `settled_requests` (50) for each endpoint, if the heaviest L is
over `shift_ratio` (1.5) times the lightest:

- *Load shift*: prompts that would be exploited on the heaviest go to the lightest, until it is not.
- *Replication*: unless a single prefix is all its load. Moving that would move the heat alone, so
  it stays until its mean time to first token in the later half of the window is at least
  `replicate_ratio` (2) times that of the earlier half; then it goes to the lightest, too, once.

Either way both hold it from then on, and later prompts go where the cost is less.

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

# A window in steps of a thirty-sixth, 5 s of 3 min: forgetting is that late at most.
STEPS = 36
# "A single node" of a tree is an exact thing; of prompts counted by their middle block it is nearly
# all of them.
SINGLE_SHARE = 0.9
# A minute and a half of 1,000 new blocks a second; then the rest counts as used once.
MAX_COUNTED = 100_000


class Preble(PolicyBase, tag="preble", frozen=True):
    """Preble's exploitation and exploration, with load shift and replication."""

    window_s: Annotated[float, msgspec.Meta(gt=0.0, le=86_400.0)] = 180.0
    shift_ratio: Annotated[float, msgspec.Meta(ge=1.0, le=1000.0)] = 1.5
    replicate_ratio: Annotated[float, msgspec.Meta(ge=1.0, le=1000.0)] = 2.0
    settled_requests: Annotated[int, msgspec.Meta(ge=0)] = 50

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


class _Half:
    """Half a window: how often blocks were used, and prefixes exploited at which endpoint."""

    __slots__ = ("exploited", "ttfts", "uses")

    def __init__(self) -> None:
        self.uses: dict[int, int] = {}
        self.ttfts: dict[tuple[int, EndpointId], tuple[int, float]] = {}
        self.exploited: dict[EndpointId, int] = {}


class _Halves:
    """The earlier and the later half of the window."""

    __slots__ = ("_earlier", "_half_s", "_later", "_until")

    def __init__(self, window_s: float) -> None:
        self._half_s = window_s / 2
        self._until: float | None = None
        self._earlier, self._later = _Half(), _Half()

    def age(self, now: Monotonic) -> None:
        """Begin a new half when this one is over."""
        if self._until is None:
            self._until = now + self._half_s
        if now < self._until:
            return
        gap = now >= self._until + self._half_s
        self._earlier, self._later = (_Half() if gap else self._later), _Half()
        self._until = now + self._half_s

    def use(self, chain: Sequence[int]) -> None:
        """A prompt with these blocks was assigned."""
        uses = self._later.uses
        for block in chain:
            kept = block & KEPT_BITS
            if kept in uses or len(uses) < MAX_COUNTED:
                uses[kept] = uses.get(kept, 0) + 1

    def uses(self, kept: int) -> int:
        """How often a block was used within the window."""
        return self._later.uses.get(kept, 0) + self._earlier.uses.get(kept, 0)

    def exploit(self, prefix: int, endpoint: EndpointId, ttft_s: float) -> None:
        """A prompt with this prefix would be exploited there, and take so long."""
        later = self._later
        later.exploited[endpoint] = later.exploited.get(endpoint, 0) + 1
        count, total_s = later.ttfts.get((prefix, endpoint), (0, 0.0))
        if count or len(later.ttfts) < MAX_COUNTED:
            later.ttfts[prefix, endpoint] = count + 1, total_s + ttft_s

    def share(self, prefix: int, endpoint: EndpointId) -> float:
        """Of what was exploited there, how much had this prefix?"""
        halves = (self._earlier, self._later)
        count = sum([half.ttfts.get((prefix, endpoint), (0, 0.0))[0] for half in halves])
        return count / sum([half.exploited.get(endpoint, 0) for half in halves])

    def growth(self, prefix: int, endpoint: EndpointId) -> float:
        """By what factor its mean time to first token there grew from half to half; 0: unknown."""
        before, before_s = self._earlier.ttfts.get((prefix, endpoint), (0, 0.0))
        after, after_s = self._later.ttfts.get((prefix, endpoint), (0, 0.0))
        return (after_s / after) / (before_s / before) if before_s > 0 and after else 0.0

    def restart(self, prefix: int, endpoint: EndpointId) -> None:
        """The prefix has another home from now on: the times until now count no more."""
        self._earlier.ttfts.pop((prefix, endpoint), None)
        self._later.ttfts.pop((prefix, endpoint), None)


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
        if reason is Reason.AFFINITY and self._sheds(request.prompt.chain, chosen, option, options):
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
        """E2: exploit or explore."""
        longest = max(option.matched for option in options)
        holders = [option for option in options if option.matched == longest]
        if not holders[0].is_mostly_held:
            return least(options, lambda option: self._cost(option, request), rng), Reason.POLICY
        return least(holders, lambda option: self._cost(option, request), rng), Reason.AFFINITY

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

    def _sheds(
        self, chain: Sequence[int], chosen: Candidate, home: _Option, options: list[_Option]
    ) -> bool:
        """Is this prompt's home so heavy that the prompt goes to the lightest instead?"""
        prefix, endpoint = chain[(len(chain) - 1) // 2], home.state.id
        self._halves.exploit(prefix, endpoint, chosen.ttft_s)
        loads_s = [option.assigned_s for option in options]
        if (
            self._requests < self._config.settled_requests * len(options)
            or home.assigned_s < max(loads_s)
            or home.assigned_s <= self._config.shift_ratio * min(loads_s)
        ):
            return False
        if self._halves.share(prefix, endpoint) <= SINGLE_SHARE:
            return True
        if self._halves.growth(prefix, endpoint) < self._config.replicate_ratio:
            return False
        self._halves.restart(prefix, endpoint)
        return True

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
