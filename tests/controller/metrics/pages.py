"""Pages of gateways over five minutes: what both evaluators of the asks are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

# Pages are read every 15 s, as Prometheus mostly does; the last one is 4 s old when it is asked.
PERIOD_S = 15
START_S = 1_800_000_000
PAGES = 25
NOW_S = START_S + (PAGES - 1) * PERIOD_S + 4
RESTART = 12  # the second gateway starts again before this page


class Page(NamedTuple):
    """One reading of one gateway."""

    gateway: str
    namespace: str
    at_s: int
    series: dict[str, float]

    def text(self, *, timestamps: bool = False) -> str:
        """As the gateway prints it; with what Prometheus adds, if it is to be backfilled."""
        lines = []
        for series, value in sorted(self.series.items()):
            if timestamps:
                name, _, labels = series.rstrip("}").partition("{")
                added = f'namespace="{self.namespace}",instance="{self.gateway}"'
                full = ",".join(part for part in (labels, added) if part)
                lines.append(f"{name}{{{full}}} {value} {self.at_s}")
            else:
                lines.append(f"{series} {value}")
        return "\n".join(lines) + "\n"


def _counters(seconds: float, weight: float) -> dict[str, float]:
    model = 'model="m"'
    stream = f'api="chat",{model},stream="true"'
    done = seconds * weight
    buckets = {0.1: 0.2, 0.5: 0.8, 1.0: 0.96, 2.5: 0.99, float("inf"): 1.0}
    series = {
        f'cardan_requests_total{{api="chat",{model},outcome="ok"}}': 4 * done,
        f'cardan_requests_total{{api="chat",{model},outcome="shed"}}': 0.5 * done,
        f'cardan_requests_total{{api="chat",{model},outcome="invalid"}}': 3 * done,
        f"cardan_prompt_tokens_total{{{model}}}": 4000 * done,
        f"cardan_completion_tokens_total{{{model}}}": 800 * done,
        f'cardan_slo_requests_total{{{model},met="true"}}': 3.6 * done,
        f'cardan_slo_requests_total{{{model},met="false"}}': 0.4 * done,
        'cardan_endpoint_requests_total{endpoint="e-0",outcome="ok"}': 4 * done,
        'cardan_endpoint_tokens_total{endpoint="e-0"}': 4000 * done,
        'cardan_endpoint_hit_tokens_total{endpoint="e-0"}': 1000 * done,
        'cardan_cached_tokens_actual_total{endpoint="e-0"}': 2000 * done,
        'cardan_cached_tokens_prompt_total{endpoint="e-0"}': 4000 * done,
        'cardan_engine_generated_tokens_total{endpoint="e-0"}': 800 * done,
        'cardan_dispatch_failures_total{endpoint="e-0",failure="reset"}': 0.25 * done,
    }
    for bound, share in buckets.items():
        le = "+Inf" if bound == float("inf") else f"{bound:g}"
        series[f'cardan_time_to_first_token_seconds_bucket{{{stream},le="{le}"}}'] = share * done
    return series


def _gauges(number: int) -> dict[str, float]:
    key = 'model="m",key="00000000deadbeef"'
    return {
        "cardan_ready": 1,
        'cardan_held_requests{model="m"}': 2 + number,
        'cardan_endpoint_in_flight{endpoint="e-0"}': 5,
        'cardan_engine_running{endpoint="e-0"}': 8,
        'cardan_engine_waiting{endpoint="e-0"}': 1,
        'cardan_engine_kv_used_ratio{endpoint="e-0"}': 0.5,
        'cardan_scrape_age_seconds{endpoint="e-0"}': 0.5,
        'cardan_endpoint_prefill_tokens_per_second{endpoint="e-0"}': 20_000 + number,
        f"cardan_key_share_ratio{{{key}}}": 0.25,
        f"cardan_key_hit_tokens{{{key}}}": 1800,
        f"cardan_key_blocks{{{key}}}": 3,
        f'cardan_key_owner{{{key},endpoint="e-0"}}': 1,
        f'cardan_key_warmed{{{key},endpoint="e-1"}}': 1,
    }


def pages() -> Iterator[Page]:
    """Two gateways of one namespace and one of another, which has a third of the traffic."""
    for number in range(PAGES):
        at_s = START_S + number * PERIOD_S
        elapsed_s = float(number * PERIOD_S)
        again_s = elapsed_s - RESTART * PERIOD_S if number >= RESTART else elapsed_s
        yield Page("gw-a", "one", at_s, _counters(elapsed_s, 1.0) | _gauges(0))
        yield Page("gw-b", "one", at_s, _counters(again_s, 2.0) | _gauges(1))
        yield Page("gw-c", "two", at_s, _counters(elapsed_s, 1 / 3) | _gauges(0))
