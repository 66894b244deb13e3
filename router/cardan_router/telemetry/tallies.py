"""What is counted of one kind of request, and of one endpoint, until it is moved to the registry.

Looked up once by their labels and then only added to: a registry is asked a few times a second, not
for every request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cardan.ledger import Outcome

from cardan_router.telemetry import metrics
from cardan_router.telemetry.legend import UNSERVED

if TYPE_CHECKING:
    from cardan.request import RequestView

    from cardan_router.record import FlightRecord
    from cardan_router.telemetry.masses import Masses
    from cardan_router.telemetry.registry import Registry

# An error is quick to write: its first byte is no first token.
ERRORS: Final = frozenset({Outcome.CLIENT_ERROR, Outcome.ENGINE_ERROR})
_UNSERVED: Final = frozenset(UNSERVED)


class Bundle:
    """What is counted of one kind of request (call, model, stream)."""

    __slots__ = (
        "api",
        "completion",
        "duration",
        "masses",
        "met",
        "missed",
        "model",
        "outcomes",
        "prompt",
        "queue",
        "ratio",
        "ttft",
    )

    def __init__(
        self, registry: Registry, api: str, model: str, stream: bool, masses: Masses
    ) -> None:
        self.api = api
        self.model = model
        self.masses = masses
        self.outcomes: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        # All at zero from the start: the rate of a series that begins with its first event misses
        # that event, and often the whole incident.
        for outcome in Outcome:
            registry.counter(metrics.REQUESTS).add((api, model, outcome.value), 0)
        self.prompt = self.completion = 0
        self.met = self.missed = 0
        self.ttft = registry.histogram(metrics.TTFT).cell((api, model, str(stream).lower()))
        self.duration = registry.histogram(metrics.DURATION).cell((api, model))
        self.queue = registry.histogram(metrics.QUEUE).cell((model,))
        self.ratio = registry.histogram(metrics.TTFT_RATIO).cell((model,))

    def flush(self, registry: Registry) -> None:
        """Move what has been counted to the registry."""
        requests = registry.counter(metrics.REQUESTS)
        for outcome, count in self.outcomes.items():
            if count:
                requests.add((self.api, self.model, outcome.value), count)
                self.outcomes[outcome] = 0
        if self.prompt or self.completion:
            registry.counter(metrics.PROMPT_TOKENS).add((self.model,), self.prompt)
            registry.counter(metrics.COMPLETION_TOKENS).add((self.model,), self.completion)
            self.prompt = self.completion = 0
        if self.met or self.missed:  # both, so that a rate of misses starts from zero
            promises = registry.counter(metrics.SLO)
            promises.add((self.model, "true"), self.met)
            promises.add((self.model, "false"), self.missed)
            self.met = self.missed = 0

    def promise(self, flight: FlightRecord, view: RequestView, outcome: Outcome) -> None:
        """Was the first token there in time?"""
        first_byte_at, slo_ttft_s = flight.exchange.first_byte_at, view.slo_ttft_s
        if first_byte_at is not None and outcome not in ERRORS:
            if first_byte_at - flight.arrived_at <= slo_ttft_s:
                self.met += 1
            else:
                self.missed += 1
        elif outcome in _UNSERVED or (
            outcome is Outcome.CLIENT_LEFT
            and flight.ended_at is not None
            and flight.ended_at - flight.arrived_at > slo_ttft_s
        ):
            self.missed += 1


class Tally:
    """What is counted of one endpoint."""

    __slots__ = (
        "actual_s",
        "cached_actual",
        "cached_of",
        "cached_predicted",
        "cached_reports",
        "hit_tokens",
        "outcomes",
        "predicted_s",
        "tokens",
    )

    def __init__(self) -> None:
        self.outcomes: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        self.tokens = self.hit_tokens = 0.0
        self.predicted_s = self.actual_s = 0.0
        self.cached_predicted = 0.0
        self.cached_actual = self.cached_of = self.cached_reports = 0

    def flush(self, endpoint: str, registry: Registry) -> None:
        """Move what has been counted to the registry."""
        requests = registry.counter(metrics.ENDPOINT_REQUESTS)
        for outcome, count in self.outcomes.items():
            if count:
                requests.add((endpoint, outcome.value), count)
        rows = [
            (metrics.ENDPOINT_TOKENS, self.tokens),
            (metrics.ENDPOINT_HIT_TOKENS, self.hit_tokens),
            (metrics.TTFT_PREDICTED, self.predicted_s),
            (metrics.TTFT_ACTUAL, self.actual_s),
        ]
        if self.cached_reports:
            rows.append((metrics.CACHED_PREDICTED, self.cached_predicted))
            rows.append((metrics.CACHED_ACTUAL, self.cached_actual))
            rows.append((metrics.CACHED_OF, self.cached_of))
        for spec, amount in rows:
            registry.counter(spec).add((endpoint,), amount)
