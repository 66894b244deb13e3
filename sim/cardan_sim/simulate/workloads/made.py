"""Made-up requests, where nobody has published any. All arrivals are Poisson.

Requests are drawn one by one, so a million of them take no memory.
"""

from __future__ import annotations

from itertools import accumulate, count
from math import exp
from typing import TYPE_CHECKING, Annotated

import msgspec

from cardan_sim.simulate.jobs import KEY_BLOCK_TOKENS, Job
from cardan_sim.simulate.workloads.base import Base, Count, Share, rng_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from random import Random

    from cardan_sim.simulate.workloads.base import Segment


class _Made(Base, frozen=True, kw_only=True):
    requests: Count = 8000
    rate: Annotated[float, msgspec.Meta(gt=0)] = 1.0

    def jobs(self, *, root: Path, segment: Segment, rate: float | None, seed: int) -> Iterable[Job]:
        """See `Base`; a segment is a part of the same draw."""
        del root
        part = segment.of(self.requests)
        rng = rng_of(self.label, seed)
        now, origin_s = 0.0, 0.0
        drawn = self._draw(rng)
        for number in range(part.stop):
            now += rng.expovariate(rate or self.rate)
            tokens, output, blocks, tenant = next(drawn)
            if number == part.start:
                origin_s = now
            if number >= part.start:
                yield self.cut(Job(now - origin_s, tokens, output, blocks, tenant=tenant))

    def _draw(self, rng: Random) -> Iterator[tuple[int, int, tuple[int, ...], str]]:
        """Without end: tokens, output tokens, blocks, tenant."""
        raise NotImplementedError


class ToolAndAgent(_Made, frozen=True, tag="tool-and-agent", kw_only=True):
    """Mooncake's tool-and-agent workload as DualMap's authors describe it; the file is not public.

    37.8 % of the requests share a prefix of 12 blocks, 14.9 % one of 5, the rest are conversations
    of several turns; 8,596 tokens in, 182 out and 59 % reuse in the mean. Lengths are those of the
    same classes in the 1,000 requests of the older trace that are public: behind the 12 blocks 289
    tokens in the median (sigma 1.5), answers of 3 tokens mostly; behind the 5 blocks 715 (0.41)
    and 20. A conversation goes on after a turn with probability 0.44, grows by 2,000 tokens a turn,
    and begins with 4,900 (sigma 1.2): what brings input and reuse to the published means.
    """

    hot_share: Share = 0.378
    warm_share: Share = 0.149
    goes_on: Share = 0.44
    open_sessions: Count = 150

    def _draw(self, rng: Random) -> Iterator[tuple[int, int, tuple[int, ...], str]]:
        fresh = count(1000)
        hot, warm, system = tuple(range(1, 13)), tuple(range(21, 26)), (31,)
        open_: list[_Conversation] = []
        while True:
            kind = rng.random()
            if kind < self.hot_share:
                tail = _lognormal(rng, 289, 1.5, 120_000)
                output = 3 if rng.random() < 0.6 else rng.randint(20, 40)
                yield *_prompt(hot, tail, fresh, output), "hot"
            elif kind < self.hot_share + self.warm_share:
                tail = _lognormal(rng, 715, 0.41, 120_000)
                yield *_prompt(warm, tail, fresh, rng.randint(15, 25)), "warm"
            else:
                talk = self._turn(rng, open_, system, fresh)
                yield talk.tokens, rng.randint(100, 634), talk.full(fresh), "conversation"

    def _turn(
        self,
        rng: Random,
        open_: list[_Conversation],
        system: tuple[int, ...],
        fresh: Iterator[int],
    ) -> _Conversation:
        """The next turn of an open conversation, or the first of a new one."""
        if len(open_) >= self.open_sessions:  # somebody's conversation is over
            open_.pop(rng.randrange(len(open_)))
        if open_ and rng.random() < self.goes_on:
            talk = open_.pop(rng.randrange(len(open_)))
            talk.grow(_lognormal(rng, 1213, 1.0, 20_000), fresh)
        else:
            talk = _Conversation(system, 512)
            talk.grow(_lognormal(rng, 4900, 1.2, 100_000), fresh)
        if talk.tokens < 120_000:
            open_.append(talk)
        return talk


class SystemPrompts(_Made, frozen=True, tag="system-prompts", kw_only=True):
    """System prompts of a Zipf popularity, each request with words of its own behind one of them.

    `prefix_share` of a prompt of `input_tokens` is the system prompt: what can be reused at most.
    `skew` is Zipf's exponent; 0 makes all of `prompts` equally popular.
    """

    prompts: Count = 200
    skew: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    prefix_share: Share = 0.5
    input_tokens: Count = 8192
    output_tokens: Count = 200

    def _draw(self, rng: Random) -> Iterator[tuple[int, int, tuple[int, ...], str]]:
        blocks = round(self.prefix_share * self.input_tokens / KEY_BLOCK_TOKENS)
        weights = list(accumulate((rank + 1) ** -self.skew for rank in range(self.prompts)))
        fresh = count(1 + self.prompts * (blocks + 1))
        while True:
            (which,) = rng.choices(range(self.prompts), cum_weights=weights)
            prefix = tuple(range(1 + which * blocks, 1 + (which + 1) * blocks))
            own = max(1, self.input_tokens - blocks * KEY_BLOCK_TOKENS)
            tail = max(1, round(own * rng.uniform(0.5, 1.5)))
            output = max(1, round(self.output_tokens * rng.uniform(0.5, 1.5)))
            yield *_prompt(prefix, tail, fresh, output), ""


class NoisyTenant(SystemPrompts, frozen=True, tag="noisy-tenant", kw_only=True):
    """Tenants with a system prompt each, and one that sends `noise` times as much as all others.

    The noisy one's prompts have nothing in common and are `noisy_tokens` long; it is on in every
    second of two periods of `period_requests`.
    """

    noise: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    noisy_tokens: Count = 16_384
    period_requests: Count = 500

    def _draw(self, rng: Random) -> Iterator[tuple[int, int, tuple[int, ...], str]]:
        quiet = super()._draw(rng)
        fresh = count(1 << 40)
        for number in count():
            on = number // self.period_requests % 2
            if on and rng.random() < self.noise / (1.0 + self.noise):
                output = max(1, round(self.output_tokens * rng.uniform(0.5, 1.5)))
                yield *_prompt((), self.noisy_tokens, fresh, output), "noisy"
            else:
                tokens, output, blocks, _ = next(quiet)
                yield tokens, output, blocks, f"tenant-{blocks[0] if blocks else 0}"


class _Conversation:
    """A prompt that grows: whole blocks keep their ids, what is behind them is new each time."""

    __slots__ = ("blocks", "tokens")

    def __init__(self, blocks: tuple[int, ...], tokens: int) -> None:
        self.blocks = blocks
        self.tokens = tokens

    def grow(self, tokens: int, fresh: Iterator[int]) -> None:
        """Some tokens more."""
        self.tokens += tokens
        more = self.tokens // KEY_BLOCK_TOKENS - len(self.blocks)
        self.blocks += tuple(next(fresh) for _ in range(more))

    def full(self, fresh: Iterator[int]) -> tuple[int, ...]:
        """All blocks, the partial one at the end included."""
        return (*self.blocks, next(fresh)) if self.tokens % KEY_BLOCK_TOKENS else self.blocks


def _lognormal(rng: Random, median: float, sigma: float, highest: int) -> int:
    return min(highest, max(1, round(median * exp(sigma * rng.gauss(0.0, 1.0)))))


def _prompt(
    prefix: tuple[int, ...], tail: int, fresh: Iterator[int], output: int
) -> tuple[int, int, tuple[int, ...]]:
    """A shared prefix of whole blocks and a tail of its own."""
    own = tuple(next(fresh) for _ in range(-(-tail // KEY_BLOCK_TOKENS)))
    return len(prefix) * KEY_BLOCK_TOKENS + tail, output, prefix + own
