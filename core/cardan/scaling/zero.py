"""To nothing, and back.

A fleet sleeps when nobody has asked for it for `idle_s`: no request came, none waits in a gateway,
none runs. All of that must be known. While a number is missing the clock stands still as long as
the next one still covers the gap (rates are counted over 30 s), and then starts again. It runs
only while every role has a ready replica, so a fleet that was woken is not put to sleep before it
could serve.

It wakes when somebody waits for it: a gateway's push, held requests, or a rate of requests. That
is done at once, whatever tolerance, windows and rates say, and once: what is asked for already is
not asked for again. A push counts while a gateway still holds its request, and only if it is
younger than the sleep that it is to end.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import msgspec
from cardan.scaling.decision import ReasonCode, ScalingReason
from cardan.scaling.memory import ZeroMemory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cardan.instants import WallTime
    from cardan.scaling.observation import Datum, Observation
    from cardan.scaling.spec import ScalingSpec

# Rates are counted over so long: the first one after a gap tells of the gap as well.
COVERED_GAP_S: Final = 30.0


class Call(enum.Enum):
    """What is to become of a fleet, as far as sleep is concerned."""

    SERVE = "serve"
    WAKE = "wake"
    SLEEP = "sleep"


class Sleep(msgspec.Struct, frozen=True):
    """The call, and why."""

    call: Call
    reason: ScalingReason | None = None


def may_sleep(spec: ScalingSpec) -> bool:
    """Whether this fleet may have no replicas."""
    return spec.zero.idle_s is not None and all(pool.min_replicas == 0 for pool in spec.pools)


def watched(
    memory: ZeroMemory, spec: ScalingSpec, observation: Observation, now: WallTime
) -> ZeroMemory:
    """With what is known now of who asks."""
    if not may_sleep(spec):
        return ZeroMemory()
    quiet = is_quiet(observation) if _serves(spec, observation) else False
    if quiet:
        since = now if memory.quiet_since is None else memory.quiet_since
        return ZeroMemory(slept_at=memory.slept_at, quiet_since=since)
    if quiet is None and memory.quiet_since is not None:
        blind = now if memory.blind_since is None else memory.blind_since
        if now - blind <= COVERED_GAP_S:
            return msgspec.structs.replace(memory, blind_since=blind)
    return ZeroMemory(slept_at=memory.slept_at)


def call(memory: ZeroMemory, spec: ScalingSpec, observation: Observation, now: WallTime) -> Sleep:
    """Whether to sleep, to wake, or neither. `memory` is that of `watched`."""
    if not may_sleep(spec):
        return Sleep(Call.SERVE)
    if is_empty(spec, observation):
        waiting = _who_waits(memory, spec, observation, now)
        if waiting:
            return Sleep(Call.WAKE, ScalingReason(ReasonCode.WAKE, waiting))
        return Sleep(Call.SLEEP, ScalingReason(ReasonCode.IDLE, "asleep: nobody asks"))
    idle_s, since = spec.zero.idle_s, memory.quiet_since
    blind = memory.blind_since is not None  # the clock may stand still, and does not strike then
    if idle_s is None or since is None or blind or now - since < idle_s:
        return Sleep(Call.SERVE)
    words = f"nobody has asked for {idle_s:g} s, and nothing runs"
    return Sleep(Call.SLEEP, ScalingReason(ReasonCode.IDLE, words))


def after(memory: ZeroMemory, sleep: Sleep, observation: Observation) -> ZeroMemory:
    """With when it was put to sleep: the time of what was known, so that no push is missed."""
    if sleep.call is not Call.SLEEP:
        return msgspec.structs.replace(memory, slept_at=None)
    if memory.slept_at is not None:
        return memory
    return msgspec.structs.replace(memory, slept_at=observation.at)


def is_empty(spec: ScalingSpec, observation: Observation) -> bool:
    """Nothing is asked for in any pool (and every pool is known)."""
    states = [observation.pools.get(pool.name) for pool in spec.pools]
    return all(state is not None and not state.error and state.desired == 0 for state in states)


def is_quiet(observation: Observation) -> bool | None:
    """Nobody asks, waits or runs; None if that is not known."""
    known = [datum.known for datum in _signs(observation)]
    if any(value for value in known):
        return False
    return None if None in known else True


def _signs(observation: Observation) -> Iterator[Datum]:
    """Whatever is not zero while somebody uses the fleet."""
    yield observation.demand.requests_per_s
    yield observation.demand.held
    for load in observation.endpoints:
        # One that is not ready may tell nothing; what it does tell counts.
        if load.ready or load.in_flight.known:
            yield load.in_flight


def _serves(spec: ScalingSpec, observation: Observation) -> bool:
    """Whether every role has a ready replica."""
    ready = {pool.role: 0 for pool in spec.pools}
    for pool in spec.pools:
        state = observation.pools.get(pool.name)
        ready[pool.role] += state.ready if state is not None else 0
    return all(ready.values())


def _who_waits(
    memory: ZeroMemory, spec: ScalingSpec, observation: Observation, now: WallTime
) -> str:
    """Who waits for an empty fleet, in words; empty if nobody does."""
    held = observation.demand.held.known
    if held:
        return f"{held:g} requests wait"
    if observation.demand.requests_per_s.known:
        return f"{observation.demand.requests_per_s.known:.3g} requests a second, and no endpoint"
    pushed = observation.wake_requested_at
    if pushed is None or now - pushed >= spec.zero.hold_s:
        return ""
    # A sleep that is yet to come was written by who led before, whose clock is ahead of ours.
    younger = memory.slept_at is None or not pushed <= memory.slept_at <= now
    return "a gateway holds a request" if younger else ""
