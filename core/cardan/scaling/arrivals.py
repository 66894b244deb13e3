"""What clients ask now, from counters of what was answered.

Gateways count a request when it has ended: only then are its outcome and its tokens known. While a
fleet keeps up that is the load, seconds late; once it does not, what ends is what the fleet can do,
and a load of twice that looks the same. What has begun and not ended tells the rest:

    arrivals/s = ended/s + (in flight and held now - then) / (now - then)

over the window of the source's rates, or the part of it that tells most. In flight never counts
against the load (an endpoint that leaves takes its requests out of the sum). Tokens follow from
arrivals and the tokens of a mean request, which what was answered tells truly: as learned, unless
the window's own mean lies farther off than chance explains (four standard errors of lengths that
vary as much as their mean), for then the mix has changed. Only who was answered has tokens: who is
shed, or finds no engine, asks for as many, and an outage is no mix of small requests.

Half a minute of forty requests a second wavers by 3 % though nothing changes, and a fleet that is
kept at the most that was wanted in five minutes pays for it with every tenth replica. So a rate
that chance explains moves a mean of two minutes, and one that it does not is believed at once
(`steadied`).
"""

from __future__ import annotations

from math import exp, sqrt
from typing import TYPE_CHECKING, Final

import msgspec
from cardan.instants import WallTime
from cardan.scaling.observation import Datum, Freshness

if TYPE_CHECKING:
    from cardan.scaling.learned_mean import LearnedMean
    from cardan.scaling.observation import Demand, Observation
    from cardan.scaling.service import Learned

# The window that the source's rates are counted over.
WINDOW_S: Final = 30.0
# What lies so many standard errors off what is usual is not chance: once in 30,000 ticks. (At
# 2.5 to 3 a fleet of eight at constant load changed its size every few hours.)
_SIGMAS: Final = 4.0
_STEADY_S: Final = 120.0
# How soon what waits is to be through, once there is somebody for it.
CLEAR_S: Final = 60.0


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """Requests that had begun and not ended."""

    at: WallTime
    requests: float


class ArrivalMemory(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What stood in the fleet lately, oldest first, and the steady rate. Of this process."""

    standing: tuple[Standing, ...] = ()
    rate: float | None = None
    at: WallTime | None = None


def watched(memory: ArrivalMemory, observation: Observation) -> ArrivalMemory:
    """With what stands in the fleet now, where that is known."""
    known = [load.in_flight.known for load in observation.endpoints]
    if not known or any(one is None for one in known):
        return msgspec.structs.replace(memory, standing=())
    requests = sum(one or 0.0 for one in known) + (observation.demand.held.known or 0.0)
    kept = [one for one in memory.standing if one.at < observation.at]
    while len(kept) > 1 and observation.at - kept[1].at >= WINDOW_S:
        del kept[0]
    standing = (*kept, Standing(observation.at, requests))
    return msgspec.structs.replace(memory, standing=standing)


def arrived(memory: ArrivalMemory, demand: Demand, learned: Learned) -> Demand:
    """Demand as it arrives, from demand as it was answered; what is not fresh stays as it is."""
    ended = demand.requests_per_s.known
    if ended is None:
        return demand
    rate = ended + _piled_up(memory)
    answered = demand.counted

    def tokens(told: Datum, mean: LearnedMean) -> Datum:
        return told if told.known is None else _tokens(rate, ended, answered, told, mean)

    return msgspec.structs.replace(
        demand,
        requests_per_s=_datum(rate, demand.requests_per_s),
        prompt_tokens_per_s=tokens(demand.prompt_tokens_per_s, learned.prompt_tokens),
        uncached_tokens_per_s=tokens(demand.uncached_tokens_per_s, learned.uncached_tokens),
        output_tokens_per_s=tokens(demand.output_tokens_per_s, learned.output_tokens),
    )


def steadied(memory: ArrivalMemory, demand: Demand, now: WallTime) -> tuple[ArrivalMemory, Demand]:
    """The same demand without what is chance in its rate; tokens follow."""
    rate = demand.requests_per_s.known
    if rate is None or rate <= 0:
        return msgspec.structs.replace(memory, rate=rate, at=now), demand
    mean, before = rate, memory.rate or 0.0
    if memory.at is not None and abs(rate - before) <= _SIGMAS * sqrt(before / WINDOW_S):
        part = 1.0 - exp(-max(0.0, now - memory.at) / _STEADY_S)
        mean = before + (rate - before) * part
    factor = mean / rate
    names = (
        "requests_per_s",
        "prompt_tokens_per_s",
        "uncached_tokens_per_s",
        "output_tokens_per_s",
    )
    changed = {name: _times(getattr(demand, name), factor) for name in names}
    memory = msgspec.structs.replace(memory, rate=mean, at=now)
    return memory, msgspec.structs.replace(demand, **changed)


def with_backlog(demand: Demand, observation: Observation) -> Demand:
    """And what waits already: more than a request for each engine is to be served in `CLEAR_S`.

    A fleet that only just carries what arrives never gets through what an overload has left, and
    everybody who arrives meanwhile is late as well.
    """
    rate = demand.requests_per_s.known
    known = [load.waiting.known for load in observation.endpoints if load.ready]
    if not rate or not known or any(one is None for one in known):
        return demand
    waiting = sum(one or 0.0 for one in known) + (observation.demand.held.known or 0.0)
    return _scaled(demand, 1.0 + max(0.0, waiting - len(known)) / CLEAR_S / rate)


def _scaled(demand: Demand, factor: float) -> Demand:
    """Requests and their tokens, `factor` times as many."""
    names = (
        "requests_per_s",
        "prompt_tokens_per_s",
        "uncached_tokens_per_s",
        "output_tokens_per_s",
    )
    changed = {name: _times(getattr(demand, name), factor) for name in names}
    return msgspec.structs.replace(demand, **changed)


def _times(told: Datum, factor: float) -> Datum:
    return told if told.known is None else _datum(told.known * factor, told)


def _piled_up(memory: ArrivalMemory) -> float:
    """Requests a second by which more begin than end, since whenever that is most; not negative."""
    if not memory.standing:
        return 0.0
    *before, now = memory.standing
    rates = ((now.requests - then.requests) / max(now.at - then.at, 1.0) for then in before)
    return max((0.0, *rates))


def _tokens(
    rate: float, ended: float, answered: float | None, told: Datum, learned: LearnedMean
) -> Datum:
    """Tokens a second of what arrives: as many a request as those have that were answered."""
    tokens = told.known or 0.0
    usual = learned.value if learned.mean is None else learned.mean
    if not answered and usual <= 0:
        answered = ended  # nothing better is known
    if not answered:
        return _datum(rate * usual, told)
    seen = tokens / answered
    chance = _SIGMAS / sqrt(max(answered * WINDOW_S, 1.0))
    size = usual if usual > 0 and abs(seen - usual) <= chance * usual else seen
    return _datum(rate * size, told)


def _datum(value: float, like: Datum) -> Datum:
    return Datum(value, like.at, Freshness.FRESH)
