"""What a request leaves behind: counts, one line in the access log, one receipt.

Called once for each request, on the hot path. What is looked up by the same labels again and again
(one model, one kind of call) is looked up once and kept in a `_Bundle`.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from cardan.ledger import Outcome
from cardan.scheduler import Scheduler

from cardan_router.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from random import Random

    from cardan.decision import Decision
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.lifecycle import Failure
    from cardan.request import RequestView

    from cardan_router.access_log import AccessLog
    from cardan_router.flight import Flight
    from cardan_router.rejections import Told
    from cardan_router.telemetry.registry import Registry

OTHER_MODEL = "other"
# Bundles are kept for as many combinations as a fleet of models has; beyond, they are made anew.
MAX_BUNDLES = 4096
# A model's name in a log line is the client's word until it is known; bound it.
MAX_MODEL_CHARS = 200
# An error is quick to write: its first byte is no first token.
_ERRORS = frozenset({Outcome.CLIENT_ERROR, Outcome.ENGINE_ERROR})


class _Bundle:
    """The series of one kind of request."""

    __slots__ = ("completion", "duration", "outcomes", "prompt", "queue", "ratio", "ttft")

    def __init__(self, registry: Registry, api: str, model: str, stream: bool) -> None:
        self.outcomes = {outcome: (api, model, outcome.value) for outcome in Outcome}
        self.ttft = registry.histogram(metrics.TTFT).cell((api, model, str(stream).lower()))
        self.duration = registry.histogram(metrics.DURATION).cell((api, model))
        self.queue = registry.histogram(metrics.QUEUE).cell((model,))
        self.ratio = registry.histogram(metrics.TTFT_RATIO).cell((model,))
        self.prompt = self.completion = (model,)


class RequestRecorder:
    """The gateway's `Recorder`. `models` tells which names may be labels: those of the fleet."""

    def __init__(
        self,
        registry: Registry,
        access_log: AccessLog,
        models: Callable[[], Collection[str]],
        *,
        receipts: int,
        sample: float,
        rng: Random,
    ) -> None:
        self.sample = sample
        self.receipts: deque[tuple[float, Flight]] = deque(maxlen=receipts)
        self.access_log = access_log
        self._models = models
        self._rng = rng
        self._registry = registry
        self._bundles: dict[tuple[str, str, bool], _Bundle] = {}
        self._requests = registry.counter(metrics.REQUESTS)
        self._decisions = registry.counter(metrics.DECISIONS)
        self._rejects = registry.counter(metrics.REJECTS)
        self._endpoint_requests = registry.counter(metrics.ENDPOINT_REQUESTS)
        self._endpoint_tokens = registry.counter(metrics.ENDPOINT_TOKENS)
        self._endpoint_hits = registry.counter(metrics.ENDPOINT_HIT_TOKENS)
        self._predicted_s = registry.counter(metrics.TTFT_PREDICTED)
        self._actual_s = registry.counter(metrics.TTFT_ACTUAL)
        self._cached_predicted = registry.counter(metrics.CACHED_PREDICTED)
        self._cached_actual = registry.counter(metrics.CACHED_ACTUAL)
        self._prompt_tokens = registry.counter(metrics.PROMPT_TOKENS)
        self._completion_tokens = registry.counter(metrics.COMPLETION_TOKENS)
        self._decision_time = registry.histogram(metrics.DECISION_TIME).cell(())
        self._gaps = registry.histogram(metrics.INTER_TOKEN).cell(())

    def token_gap(self, gap_s: float) -> None:
        """Time between two reads of a stream."""
        self._gaps.observe(gap_s)

    def turned_away(self, told: Told, *, request_id: str, path: str, tenant: str) -> None:
        """A request was refused before it was admitted."""
        self._rejects.add((told.code,))
        if self.access_log.enabled:
            self.access_log.write(
                {
                    "time": round(time.time(), 3),
                    "request_id": request_id,
                    "tenant": tenant,
                    "path": path[:200],
                    "status": told.status,
                    "outcome": Outcome.INVALID.value,
                    "code": told.code,
                }
            )

    def flight_ended(self, flight: Flight) -> None:
        """A request has its one outcome."""
        exchange, view = flight.exchange, flight.call.view
        outcome = exchange.outcome or Outcome.INVALID
        bundle = self._bundle(view)
        self._requests.add(bundle.outcomes[outcome])
        decision = exchange.decision
        if decision is not None:
            self._dispatched(flight, decision, bundle, outcome)
        ended_at = flight.ended_at
        if ended_at is not None:
            bundle.duration.observe(ended_at - flight.arrived_at)
        at = time.time()
        self.receipts.append((at, flight))
        if self.access_log.enabled and (
            outcome is not Outcome.OK or self.sample >= 1.0 or self._rng.random() < self.sample
        ):
            self.access_log.write(log_entry(flight, at))

    def _bundle(self, view: RequestView) -> _Bundle:
        """The series of a request's kind; those of models nobody serves share one."""
        api, stream = view.api.value, view.stream
        bundle = self._bundles.get((api, view.model, stream))
        if bundle is None:
            model = view.model if view.model in self._models() else OTHER_MODEL
            if len(self._bundles) >= MAX_BUNDLES:
                self._bundles.clear()
            key = (api, model, stream)
            bundle = self._bundles.get(key)
            if bundle is None:
                bundle = self._bundles[key] = _Bundle(self._registry, *key)
        return bundle

    def _dispatched(
        self, flight: Flight, decision: Decision, bundle: _Bundle, outcome: Outcome
    ) -> None:
        """What the decision promised and what came of it."""
        exchange, view, chosen = flight.exchange, flight.call.view, decision.chosen
        endpoint = (decision.endpoint.id,)
        self._decisions.add((decision.reason.value,))
        self._decision_time.observe(flight.decision_s)
        self._endpoint_requests.add((endpoint[0], outcome.value))
        self._endpoint_tokens.add(endpoint, view.prompt.tokens)
        self._endpoint_hits.add(endpoint, chosen.hit_tokens)
        dispatched_at, first_byte_at = flight.dispatched_at, exchange.first_byte_at
        if dispatched_at is not None:
            bundle.queue.observe(dispatched_at - flight.arrived_at)
        if first_byte_at is not None and outcome not in _ERRORS:
            bundle.ttft.observe(first_byte_at - flight.arrived_at)
            if view.stream and chosen.ttft_s > 0 and dispatched_at is not None:
                took_s = first_byte_at - dispatched_at
                bundle.ratio.observe(took_s / chosen.ttft_s)
                self._predicted_s.add(endpoint, chosen.ttft_s)
                self._actual_s.add(endpoint, took_s)
        usage = flight.usage
        if usage is not None:
            if usage.cached_tokens is not None:
                self._cached_predicted.add(endpoint, chosen.hit_tokens)
                self._cached_actual.add(endpoint, usage.cached_tokens)
            self._prompt_tokens.add(bundle.prompt, usage.prompt_tokens or 0)
            self._completion_tokens.add(bundle.completion, usage.completion_tokens or 0)


def log_entry(flight: Flight, at: float) -> dict[str, Any]:
    """One request as its line in the access log; `at` is when it ended, wall time."""
    exchange, view, usage = flight.exchange, flight.call.view, flight.usage
    entry: dict[str, Any] = {
        "time": round(at, 3),
        "request_id": view.request_id,
        "tenant": view.tenant,
        "api": view.api.value,
        "model": view.model[:MAX_MODEL_CHARS],
        "stream": view.stream,
        "status": flight.status,
        "outcome": (exchange.outcome or Outcome.INVALID).value,
        "attempts": exchange.attempts,
        "body_bytes": view.body_bytes,
        "bytes_out": flight.bytes_out,
        "ttft_s": _since(flight.arrived_at, exchange.first_byte_at),
        "queue_s": _since(flight.arrived_at, flight.dispatched_at),
        "duration_s": _since(flight.arrived_at, flight.ended_at),
    }
    decision = exchange.decision
    if decision is not None:
        chosen = decision.chosen
        entry["endpoint"] = chosen.endpoint.id
        entry["reason"] = decision.reason.value
        entry["predicted_ttft_s"] = round(chosen.ttft_s, 4)
        entry["predicted_cached_tokens"] = round(chosen.hit_tokens)
    if usage is not None:
        entry["prompt_tokens"] = usage.prompt_tokens
        entry["cached_tokens"] = usage.cached_tokens
        entry["completion_tokens"] = usage.completion_tokens
    return entry


def _since(start: float, end: float | None) -> float | None:
    return None if end is None else round(end - start, 6)


class ObservedScheduler(Scheduler):
    """A scheduler whose failures and retries are counted where they happen."""

    _last_failure = "none"
    _registry: Registry | None = None

    def observe_with(self, registry: Registry) -> None:
        """Count from now on."""
        self._registry = registry

    def endpoint_failed(self, endpoint: EndpointState, failure: Failure, now: Monotonic) -> None:
        """See `Scheduler`; counted."""
        self._last_failure = failure.value
        if self._registry is not None:
            self._registry.counter(metrics.FAILURES).add((endpoint.id, failure.value))
        super().endpoint_failed(endpoint, failure, now)

    def decide(
        self, request: RequestView, now: Monotonic, exclude: Collection[str] = ()
    ) -> Decision | None:
        """See `Scheduler`; a decision that excludes someone is a retry, and counted."""
        decision = super().decide(request, now, exclude)
        if exclude and decision is not None and self._registry is not None:
            # The exchange reports a failure and asks for another endpoint in one step.
            self._registry.counter(metrics.RETRIES).add((self._last_failure,))
        return decision
