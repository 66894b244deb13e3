"""What the operator wants to know of gateways, as values.

Each ask names a series of the gateway and how it is summed up; `by` are the labels that its answers
are keyed with, after the namespace of the gateways, which always comes first. A question about all
fleets at once costs one query, so a tick asks as much for one fleet as for five hundred.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec


class Window(enum.Enum):
    """Over which time counters are compared."""

    SHORT = "short"  # what demand is now: some scrapes, about half a minute
    LONG = "long"  # whether promises are kept: five minutes


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a counter rises, per second, summed over gateways.

    `where` keeps the series whose label has one of the words, `unless` leaves those out. Of a
    counter that is not the gateways' own (`relayed`: an engine's) all tell the same, so the largest
    counts; and a series that begins does not begin at zero.
    """

    metric: str
    by: tuple[str, ...] = ("model",)
    window: Window = Window.SHORT
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    unless: tuple[tuple[str, tuple[str, ...]], ...] = ()
    relayed: bool = False


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """A gauge, summed over gateways where each one has its part (`sum`), else the largest."""

    metric: str
    by: tuple[str, ...]
    sum: bool = False


class Quantile(msgspec.Struct, frozen=True, kw_only=True):
    """A quantile of a histogram's observations in a window."""

    metric: str
    quantile: float
    by: tuple[str, ...] = ("model",)
    window: Window = Window.LONG
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Age(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds since the youngest sample of a gauge was taken, by the source's own clock."""

    metric: str
    by: tuple[str, ...] = ()


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How many gateways tell a gauge, and have for long enough to tell a rate of theirs."""

    metric: str
    by: tuple[str, ...] = ()


Ask = Rate | Gauge | Quantile | Age | Count

ENDPOINT: Final = ("endpoint",)
KEY: Final = ("model", "key")

ASKS: Final[dict[str, Ask]] = {
    "sample_age_s": Age(metric="cardan_ready"),
    "gateways": Count(metric="cardan_ready"),
    # demand, by model; requests that were wrong are no demand
    "requests": Rate(
        metric="cardan_requests_total", unless=(("outcome", ("invalid", "client-error")),)
    ),
    "answered": Rate(metric="cardan_requests_total", where=(("outcome", ("ok",)),)),
    # turned away: by the gateway, or by every engine that it has asked
    "shed": Rate(metric="cardan_requests_total", where=(("outcome", ("shed", "refused")),)),
    "prompt_tokens": Rate(metric="cardan_prompt_tokens_total"),
    "output_tokens": Rate(metric="cardan_completion_tokens_total"),
    "promises_kept": Rate(
        metric="cardan_slo_requests_total", window=Window.LONG, where=(("met", ("true",)),)
    ),
    "promises": Rate(metric="cardan_slo_requests_total", window=Window.LONG),
    "ttft_p95_s": Quantile(
        metric="cardan_time_to_first_token_seconds", quantile=0.95, where=(("stream", ("true",)),)
    ),
    "held": Gauge(metric="cardan_held_requests", by=("model",), sum=True),
    # each endpoint
    "in_flight": Gauge(metric="cardan_endpoint_in_flight", by=ENDPOINT, sum=True),
    "running": Gauge(metric="cardan_engine_running", by=ENDPOINT),
    "waiting": Gauge(metric="cardan_engine_waiting", by=ENDPOINT),
    "kv_used": Gauge(metric="cardan_engine_kv_used_ratio", by=ENDPOINT),
    "scrape_age_s": Gauge(metric="cardan_scrape_age_seconds", by=ENDPOINT),
    "prefill_speed": Gauge(metric="cardan_endpoint_prefill_tokens_per_second", by=ENDPOINT),
    "endpoint_requests": Rate(metric="cardan_endpoint_requests_total", by=ENDPOINT),
    "endpoint_tokens": Rate(metric="cardan_endpoint_tokens_total", by=ENDPOINT),
    "endpoint_hit_tokens": Rate(metric="cardan_endpoint_hit_tokens_total", by=ENDPOINT),
    "endpoint_output_tokens": Rate(
        metric="cardan_engine_generated_tokens_total", by=ENDPOINT, relayed=True
    ),
    "endpoint_failures": Rate(metric="cardan_dispatch_failures_total", by=ENDPOINT),
    "cached_actual": Rate(metric="cardan_cached_tokens_actual_total", by=ENDPOINT),
    "cached_of": Rate(metric="cardan_cached_tokens_prompt_total", by=ENDPOINT),
    # hot prefixes: only the few that carry much of the traffic have series
    "key_share": Gauge(metric="cardan_key_share_ratio", by=KEY),
    "key_hit_tokens": Gauge(metric="cardan_key_hit_tokens", by=KEY),
    "key_blocks": Gauge(metric="cardan_key_blocks", by=KEY),
    "key_owner": Gauge(metric="cardan_key_owner", by=(*KEY, "endpoint")),
    "key_warmed": Gauge(metric="cardan_key_warmed", by=(*KEY, "endpoint")),
}
"""Everything that is asked each tick."""


def metrics_of(ask: Ask) -> tuple[str, ...]:
    """The names of the series that an ask reads."""
    return (f"{ask.metric}_bucket",) if isinstance(ask, Quantile) else (ask.metric,)
