"""What one tick knows of a fleet, and how well it knows it.

Every number is a `Datum`: a value with the time of the sample it comes from, or a word for why
there is none. Missing is not zero: a query that failed says nothing of the traffic, while a query
that succeeded and found no series of a gateway that is there says that there was none (the source
knows the difference and reports 0.0, fresh). Policies take `fresh` values alone; whatever they lack
keeps a pool from shrinking.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec
from cardan.endpoint import EndpointId
from cardan.instants import WallTime


class Freshness(enum.StrEnum):
    """How a number came to be known, or not."""

    FRESH = "fresh"
    STALE = "stale"  # there is a value, and it is too old to act on
    MISSING = "missing"  # the source answered, and has no such series (or only NaN)
    FAILED = "failed"  # the source did not answer


class Datum(msgspec.Struct, frozen=True):
    """A number with its age. `value` is None unless `fresh` or `stale`; `why` is for a person."""

    value: float | None = None
    at: WallTime | None = None
    freshness: Freshness = Freshness.MISSING
    why: str = ""

    @property
    def known(self) -> float | None:
        """The value if it may be acted on."""
        return self.value if self.freshness is Freshness.FRESH else None

    def times(self, factor: float) -> Datum:
        """So many times the number, known as well as it is."""
        value = None if self.value is None else self.value * factor
        return msgspec.structs.replace(self, value=value)


MISSING: Final = Datum()


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What clients ask of a fleet, as its gateways counted it.

    Rates are over the source's short window (30 s), in requests or tokens a second. Uncached tokens
    are prompt tokens that a prefix cache did not save: the work of prefill. `attainment` is the
    share of streams whose first token came in time, over the source's long window (5 min), as are
    the 95th percentile `ttft_p95_s` and the mean inter-token latency `itl_s`. `held` counts
    requests that wait in gateways for an endpoint, `shed_per_s` those turned away, and
    `answered_per_s` those that an engine answered to their end: only these have tokens.
    """

    requests_per_s: Datum = MISSING
    prompt_tokens_per_s: Datum = MISSING
    uncached_tokens_per_s: Datum = MISSING
    output_tokens_per_s: Datum = MISSING
    attainment: Datum = MISSING
    ttft_p95_s: Datum = MISSING
    itl_s: Datum = MISSING
    held: Datum = MISSING
    shed_per_s: Datum = MISSING
    answered_per_s: Datum = MISSING

    @property
    def counted(self) -> float | None:
        """Requests a second whose tokens are counted; None where nobody can tell."""
        if self.answered_per_s.known is not None:
            return self.answered_per_s.known
        ended, shed = self.requests_per_s.known, self.shed_per_s.known
        return None if ended is None or shed is None else max(0.0, ended - shed)


class PendingReplica(msgspec.Struct, frozen=True):
    """A replica that is asked for and not ready: supply that is under way, until it is overdue."""

    name: str
    since: WallTime
    unschedulable: str = ""  # the scheduler's own words, where it has found no node


class PoolState(msgspec.Struct, frozen=True, kw_only=True):
    """One scale target. `desired` is what its `/scale` asks for, whoever wrote it last.

    `draining` are endpoints whose pods terminate, whoever told them to.
    `started_s` are the times (s) from creation to Ready of replicas that became ready lately: how
    cold starts are learned. `manual` names whoever else changed the scale since we did.
    """

    desired: int
    ready: int
    pending: tuple[PendingReplica, ...] = ()
    draining: tuple[EndpointId, ...] = ()
    started_s: tuple[float, ...] = ()
    manual: str = ""
    error: str = ""  # why the target cannot be read or scaled; empty when it can


class EndpointLoad(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint, as the gateways (all together) and its own metrics tell."""

    id: EndpointId
    pool: str
    ready: bool = True
    age_s: float = 0.0
    in_flight: Datum = MISSING
    running: Datum = MISSING
    waiting: Datum = MISSING
    kv_used_ratio: Datum = MISSING
    prefill_tokens_per_s: Datum = MISSING  # as learned: its speed, not its load
    requests_per_s: Datum = MISSING
    prompt_tokens_per_s: Datum = MISSING
    uncached_tokens_per_s: Datum = MISSING
    output_tokens_per_s: Datum = MISSING
    failures_per_s: Datum = MISSING


class KeyMass(msgspec.Struct, frozen=True, kw_only=True):
    """A routing key that carries much of a fleet's traffic.

    `key` is 16 hex digits, `share` its part (0..1) of the fleet's prompt tokens, `blocks` how many
    prefix blocks it stands for, `hit_tokens` the prompt tokens one request saves where it is warm.
    Gateways say that it belongs to `endpoints`, and that they have made `warmed` warm, as they were
    told to.
    """

    key: str
    share: float
    blocks: int = 1
    hit_tokens: float = 0.0
    endpoints: tuple[EndpointId, ...] = ()
    warmed: tuple[EndpointId, ...] = ()


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one fleet at `at`."""

    at: WallTime
    demand: Demand = Demand()
    pools: dict[str, PoolState] = msgspec.field(default_factory=dict)
    endpoints: tuple[EndpointLoad, ...] = ()
    keys: tuple[KeyMass, ...] = ()
    external: dict[str, Datum] = msgspec.field(default_factory=dict)
    wake_requested_at: WallTime | None = None  # a gateway's push: somebody waits for an empty fleet
