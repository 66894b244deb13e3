"""What the status page shows, made of the same numbers that `/metrics` exposes.

Totals only: the page takes rates and quantiles from the difference of two looks. So nothing is kept
here for those who look, and several workers' numbers are simply merged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cardan.health import Verdict

from cardan_router.receipts import public_name
from cardan_router.telemetry import legend, metrics
from cardan_router.telemetry.exposition import merge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cardan.fleet import EndpointState

    from cardan_router.telemetry.registry import Snapshot, Spec

MAX_ENDPOINTS = 500
"""More rows than this are no help to a person; the page says how many there are."""


def page_state(
    snapshots: Mapping[str, Snapshot],
    states: Sequence[tuple[EndpointState, str]],
    receipts: Sequence[dict[str, Any]],
    about: Mapping[str, object],
) -> dict[str, Any]:
    """The document behind the page.

    `states` are the endpoints with one word each for how they do, `receipts` the latest requests
    (newest first), `about` what is added as it is (version, policy, readiness, times).
    """
    read = _Reader(snapshots)
    ttft = read.cells(metrics.TTFT)
    return {
        **about,
        "workers": len(snapshots),
        "queued": read.total(metrics.QUEUED),
        "outcomes": {
            outcome: count
            for outcome, count in read.by(metrics.REQUESTS, "outcome").items()
            if count
        },
        "reasons": read.by(metrics.DECISIONS, "reason"),
        "tokens": read.total(metrics.ENDPOINT_TOKENS),
        "hit_tokens": read.total(metrics.ENDPOINT_HIT_TOKENS),
        "cached_tokens_predicted": read.total(metrics.CACHED_PREDICTED),
        "cached_tokens_actual": read.total(metrics.CACHED_ACTUAL),
        "ttft": {
            "edges": metrics.TTFT_BUCKETS_S,
            "counts": [sum(column) for column in zip(*ttft, strict=True)]
            or [0] * (len(metrics.TTFT_BUCKETS_S) + 1),
        },
        "endpoints_total": len(states),
        "endpoints_healthy": sum(word == Verdict.HEALTHY for _, word in states),
        "models_unserved": _unserved(states),
        "legend": legend.document(),
        "endpoints": [_endpoint(state, word, read) for state, word in states[:MAX_ENDPOINTS]],
        "receipts": list(receipts),
    }


def _unserved(states: Sequence[tuple[EndpointState, str]]) -> list[str]:
    """Models of the fleet that no healthy endpoint serves."""
    known = {model for state, _ in states for model in state.models}
    served = {model for state, word in states if word == Verdict.HEALTHY for model in state.models}
    return sorted(known - served)


class _Reader:
    """Merged metrics, summed over labels."""

    def __init__(self, snapshots: Mapping[str, Snapshot]) -> None:
        self._snapshots = snapshots
        self._by: dict[tuple[str, str], dict[str, float]] = {}

    def by(self, spec: Spec, label: str) -> dict[str, float]:
        """Sums by the values of one label."""
        key = (spec.name, label)
        if key not in self._by:
            names, samples = merge(spec, self._snapshots)
            at = names.index(label)
            sums: dict[str, float] = {}
            for labels, sample in samples.items():
                sums[labels[at]] = sums.get(labels[at], 0) + sample.value
            self._by[key] = sums
        return self._by[key]

    def total(self, spec: Spec) -> float:
        """The sum over all series."""
        _, samples = merge(spec, self._snapshots)
        return sum(sample.value for sample in samples.values())

    def cells(self, spec: Spec) -> list[list[int]]:
        """The bucket counts of all series of a histogram."""
        _, samples = merge(spec, self._snapshots)
        return [sample.counts for sample in samples.values()]


def _endpoint(state: EndpointState, word: str, read: _Reader) -> dict[str, Any]:
    def of(spec: Spec, missing: float | None = 0.0) -> float | None:
        return read.by(spec, "endpoint").get(state.id, missing)

    return {
        "name": state.id,
        "public_name": public_name(state),
        "engine": state.engine.value,
        "models": sorted(state.models),
        "state": word,
        "weight": state.weight,
        "in_flight": of(metrics.IN_FLIGHT),
        "waiting": of(metrics.WAITING),
        "requests": of(metrics.ENDPOINT_REQUESTS),
        "tokens": of(metrics.ENDPOINT_TOKENS),
        "hit_tokens": of(metrics.ENDPOINT_HIT_TOKENS),
        "prefill_tokens_per_s": of(metrics.PREFILL_RATE, None),
        "engine_running": of(metrics.ENGINE_RUNNING, None),
        "engine_waiting": of(metrics.ENGINE_WAITING, None),
        "kv_used_ratio": of(metrics.ENGINE_KV_USED, None),
        "scrape_age_s": of(metrics.SCRAPE_AGE, None),
    }
