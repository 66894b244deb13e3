"""The smallest engine model that can tell policies apart: endpoints that compute one prompt after
another and keep an LRU prefix cache, driven through the real core.

No decoding, no chunks, no network. `cardan_sim` holds the believable engine; this one shows that
the core's parts fit together, in a tenth of a second.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from cardan.instants import Monotonic
from cardan.ledger import Outcome, Usage
from cardan.lifecycle import Exchange, Forward
from cardan.prompt import Prompt
from cardan.scheduler import Scheduler
from cardan.shadow import Shadow
from cardan.speed import work_tokens

from tests.core.policies.build import fleet_of, request_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.policies import AnyPolicy

    Event = Callable[[Monotonic], None]

BLOCK_TOKENS = 512
CACHE_TOKENS = 200 * BLOCK_TOKENS
OVERHEAD_S = 0.02  # on the way there and back, while the engine computes the next


class Arrival(NamedTuple):
    """A prompt and when it comes."""

    at: float
    chain: tuple[int, ...]


@dataclass
class Engine:
    """One prompt at a time, first come first served."""

    rate: float
    cache: Shadow
    queue: list[Exchange] = field(default_factory=list)
    served: int = 0
    hit_tokens: float = 0.0
    prompt_tokens: float = 0.0

    def begin(self, exchange: Exchange) -> tuple[float, float]:
        """The seconds that the prompt takes, and the tokens found in the cache."""
        prompt = exchange.request.prompt
        hit = min(self.cache.match(prompt.chain) * float(BLOCK_TOKENS), prompt.tokens - 1)
        self.hit_tokens += hit
        self.prompt_tokens += prompt.tokens
        return work_tokens(prompt.tokens - hit, prompt.tokens) / self.rate, hit


@dataclass
class Result:
    """What came of a run."""

    ttfts_s: list[float]
    engines: dict[str, Engine]
    scheduler: Scheduler
    predictions: list[tuple[float, float]]

    def attainment(self, slo_s: float) -> float:
        """Share of first tokens within the SLO."""
        return sum(ttft_s <= slo_s for ttft_s in self.ttfts_s) / len(self.ttfts_s)

    def hit_ratio(self) -> float:
        """Share of prompt tokens that engines found in their caches."""
        engines = self.engines.values()
        return sum(e.hit_tokens for e in engines) / sum(e.prompt_tokens for e in engines)


class Play:
    """A policy on engines of these rates, over a list of arrivals."""

    def __init__(
        self,
        policy: AnyPolicy,
        rates: list[float],
        *,
        slo_s: float,
        seed: int,
        cache_tokens: int = CACHE_TOKENS,
    ) -> None:
        fleet = fleet_of(len(rates), cache_tokens=cache_tokens)
        self.scheduler = Scheduler(fleet, policy, Random(seed))
        self.engines = {
            str(id_): Engine(rate, Shadow(cache_tokens // BLOCK_TOKENS))
            for id_, rate in zip(fleet.endpoints, rates, strict=True)
        }
        self.slo_s = slo_s
        self.events: list[tuple[float, int, Event]] = []
        self.serial = itertools.count()
        self.ttfts_s: list[float] = []
        self.predictions: list[tuple[float, float]] = []

    def run(self, arrivals: list[Arrival]) -> Result:
        """Everything until the last prompt is answered."""
        for arrival in arrivals:
            self._at(arrival.at, partial(self._arrive, arrival))
        while self.events:
            at, _, event = heapq.heappop(self.events)
            event(Monotonic(at))
        return Result(self.ttfts_s, self.engines, self.scheduler, self.predictions)

    def _at(self, at: float, event: Event) -> None:
        heapq.heappush(self.events, (at, next(self.serial), event))

    def _arrive(self, arrival: Arrival, now: Monotonic) -> None:
        tokens = len(arrival.chain) * float(BLOCK_TOKENS)
        prompt = Prompt(arrival.chain, tokens, BLOCK_TOKENS, len(arrival.chain))
        request = request_of(prompt, slo_ttft_s=self.slo_s, arrived_at=now)
        exchange = Exchange(self.scheduler, request)
        action = exchange.arrive(now)
        assert isinstance(action, Forward)
        engine = self.engines[action.lease.endpoint.id]
        engine.queue.append(exchange)
        if len(engine.queue) == 1:
            self._begin(engine, now)

    def _begin(self, engine: Engine, now: Monotonic) -> None:
        seconds, hit = engine.begin(engine.queue[0])
        self._at(now + seconds, partial(self._computed, engine, hit))

    def _computed(self, engine: Engine, hit: float, now: Monotonic) -> None:
        exchange = engine.queue.pop(0)
        engine.cache.insert(exchange.request.prompt.chain)
        engine.served += 1
        self._at(now + OVERHEAD_S, partial(self._answered, exchange, hit))
        if engine.queue:
            self._begin(engine, now)

    def _answered(self, exchange: Exchange, hit: float, now: Monotonic) -> None:
        request, decision = exchange.request, exchange.decision
        assert decision is not None
        ttft_s = now - request.arrived_at
        self.ttfts_s.append(ttft_s)
        self.predictions.append((decision.chosen.ttft_s, ttft_s))
        exchange.first_byte(now)
        exchange.ended(Outcome.OK, now, Usage(int(request.prompt.tokens), 1, int(hit)))


def strangers(n: int, per_s: float, *, seed: int) -> list[Arrival]:
    """`n` prompts of 2 to 22 blocks that share nothing."""
    rng, now = Random(seed), 0.0
    arrivals = []
    for _ in range(n):
        now += rng.expovariate(per_s)
        blocks = rng.randint(2, 22)
        arrivals.append(Arrival(now, tuple(rng.getrandbits(64) for _ in range(blocks))))
    return arrivals


def conversations(
    n: int, per_s: float, *, seed: int, shared_blocks: int = 4, turns: int = 5
) -> list[Arrival]:
    """`n` prompts of conversations that grow by two blocks a turn, all behind one system prompt."""
    rng, now = Random(seed), 0.0
    system = [rng.getrandbits(64) for _ in range(shared_blocks)]
    open_: list[list[int]] = []
    arrivals = []
    for _ in range(n):
        now += rng.expovariate(per_s)
        if len(open_) < 60 or rng.random() < 1 / turns:
            open_.append([*system])
        chain = open_[rng.randrange(len(open_))]
        chain += [rng.getrandbits(64), rng.getrandbits(64)]
        arrivals.append(Arrival(now, tuple(chain)))
        if len(chain) >= shared_blocks + 2 * turns:
            open_.remove(chain)
    return arrivals
