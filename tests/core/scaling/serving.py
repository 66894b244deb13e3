"""Fleets that serve a steady demand, as the operator sees them, for tests of whole decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.scaling.observation import (
    Datum,
    Demand,
    EndpointLoad,
    Freshness,
    Observation,
    PendingReplica,
    PoolState,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

START = WallTime(1_700_000_000.0)
# A replica that computes so many prompt tokens a second.
PREFILL_TOKENS_PER_S = 20_000.0


def known(value: float, at: float = START) -> Datum:
    """A number known now."""
    return Datum(value, WallTime(at), Freshness.FRESH)


def demand(
    rate: float,
    at: float = START,
    *,
    uncached: float = 1500.0,
    prompt: float = 3000.0,
    output: float = 100.0,
    ttft_s: float = 1.0,
    itl_s: float = 0.02,
    held: float = 0.0,
) -> Demand:
    """So many requests a second of so many tokens each, all of it fresh."""
    return Demand(
        requests_per_s=known(rate, at),
        prompt_tokens_per_s=known(rate * prompt, at),
        uncached_tokens_per_s=known(rate * uncached, at),
        output_tokens_per_s=known(rate * output, at),
        attainment=known(0.99, at),
        ttft_p95_s=known(ttft_s, at),
        itl_s=known(itl_s, at),
        held=known(held, at),
        shed_per_s=known(0.0, at),
    )


def pool(
    desired: int,
    *,
    ready: int | None = None,
    since: float = START,
    unschedulable: str = "",
    manual: str = "",
    error: str = "",
) -> PoolState:
    """A pool; replicas that are not ready have been pending since then."""
    serving = desired if ready is None else ready
    pending = tuple(
        PendingReplica(f"pending-{number}", WallTime(since), unschedulable)
        for number in range(desired - serving)
    )
    return PoolState(desired=desired, ready=serving, pending=pending, manual=manual, error=error)


def endpoint(
    name: str, of: str, at: float = START, *, in_flight: float = 2.0, speed: float = 1.0
) -> EndpointLoad:
    """A replica that serves."""
    return EndpointLoad(
        id=EndpointId(name),
        pool=of,
        in_flight=known(in_flight, at),
        running=known(in_flight, at),
        waiting=known(0.0, at),
        kv_used_ratio=known(0.02 * in_flight, at),
        prefill_tokens_per_s=known(speed * PREFILL_TOKENS_PER_S, at),
    )


def serving(
    asked: Demand,
    pools: Mapping[str, PoolState],
    at: float = START,
    *,
    in_flight: float = 2.0,
    speeds: Mapping[str, float] | None = None,
    wake_requested_at: float | None = None,
) -> Observation:
    """The fleet with a ready endpoint for each ready replica; `speeds` are by pool, else 1."""
    fast = speeds or {}
    return Observation(
        at=WallTime(at),
        demand=asked,
        pools=dict(pools),
        endpoints=tuple(
            endpoint(f"{name}-{number}", name, at, in_flight=in_flight, speed=fast.get(name, 1.0))
            for name, state in pools.items()
            for number in range(state.ready)
        ),
        wake_requested_at=None if wake_requested_at is None else WallTime(wake_requested_at),
    )
