"""What a request leaves behind: counts, one line in the access log, one receipt.

A request that ends is only put on a list. It is counted some requests or a fifth of a second later,
many in one go: no client waits for that, and one after the other they find the processor's caches
warm. Whoever reads counts, receipts or the access log calls `settle` first.

What is looked up by the same labels again and again (one model, one kind of call) is looked up once
and kept in a `Bundle`.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from cardan.decision import Reason
from cardan.ledger import Outcome
from cardan.lifecycle import Failure, RejectReason

from cardan_router.telemetry import metrics
from cardan_router.telemetry.entries import MAX_TEXT_CHARS, Entry, entry_of
from cardan_router.telemetry.tallies import ERRORS, Bundle, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from cardan.decision import Decision
    from cardan.fleet import EndpointState, Fleet
    from cardan.lifecycle import Exchange
    from cardan.request import Api, RequestView

    from cardan_router.access_log import AccessLog
    from cardan_router.record import FlightRecord
    from cardan_router.rejections import Told
    from cardan_router.telemetry.masses import KeyMasses
    from cardan_router.telemetry.registry import Registry

log = logging.getLogger(__name__)

OTHER_MODEL = "other"
# Bundles are kept for as many combinations as a fleet of models has; beyond, they are made anew.
MAX_BUNDLES = 4096
# So many requests are counted at once: 0.3 ms of the event loop, which no request notices.
BATCH = 32
# Why a request is shed; what a gateway turns away while it stops has the outcome, but no such why.
SHED_BECAUSE: Final = (
    RejectReason.NO_ENDPOINT,
    RejectReason.QUEUE_FULL,
    RejectReason.QUEUE_TIMEOUT,
)


class RequestRecorder:
    """The gateway's `Recorder`. The fleet tells which names of models and endpoints may be labels.

    What is counted by endpoint and model waits in slots until `flush`, which must come before the
    registry is read.
    """

    def __init__(
        self,
        registry: Registry,
        access_log: AccessLog,
        fleet: Fleet,
        *,
        receipts: int,
        sample: float,
        rng: Random,
        masses: KeyMasses,
    ) -> None:
        self.sample = sample
        self.receipts: deque[Entry] = deque(maxlen=receipts)
        self.access_log = access_log
        self.gaps: list[float] = []
        self._fleet = fleet
        self._masses = masses
        self._rng = rng
        self._registry = registry
        self._ended: list[tuple[FlightRecord, float]] = []
        self._bundles: dict[tuple[Api, str, bool], Bundle] = {}
        self._tallies: dict[str, Tally] = {}
        self._reasons: dict[Reason, int] = dict.fromkeys(Reason, 0)
        self._rejects = registry.counter(metrics.REJECTS)
        self._shed = registry.counter(metrics.SHED)
        self._retries = registry.counter(metrics.RETRIES)
        for failure in Failure:  # all at zero from the start, as those of a bundle
            self._retries.add((failure.value,), 0)
        for reason in SHED_BECAUSE:
            self._shed.add((reason.value,), 0)
        self._decision_time = registry.histogram(metrics.DECISION_TIME).cell(())
        self._gap_times = registry.histogram(metrics.INTER_TOKEN).cell(())

    def flush(self) -> None:
        """Bring the registry up to date."""
        self.settle()
        for bundle in self._bundles.values():
            bundle.flush(self._registry)
        for endpoint, tally in self._tallies.items():
            if endpoint in self._fleet.endpoints:  # requests may outlive their endpoint by hours
                tally.flush(endpoint, self._registry)
        self._tallies.clear()
        decisions = self._registry.counter(metrics.DECISIONS)
        for reason, count in self._reasons.items():
            if count:
                decisions.add((reason.value,), count)
                self._reasons[reason] = 0

    def endpoints_left(self, gone: Iterable[EndpointState]) -> None:
        """Drop the series of endpoints that are no more; pods come and go without end."""
        ids = {str(state.id) for state in gone} - self._fleet.endpoints.keys()
        if ids:
            self.flush()
            self._registry.forget("endpoint", ids)

    def turned_away(self, told: Told, *, request_id: str, path: str, tenant: str) -> None:
        """A request was refused before it was admitted."""
        self._rejects.add((told.code,))
        if self.access_log.enabled:
            self.access_log.write(
                {
                    "time": round(time.time(), 3),
                    "request_id": request_id,
                    "tenant": tenant,
                    "path": path[:MAX_TEXT_CHARS],
                    "status": told.status,
                    "outcome": Outcome.INVALID.value,
                    "code": told.code,
                }
            )

    def flight_ended(self, flight: FlightRecord) -> None:
        """A request has its one outcome; it is counted with the next batch."""
        flight.call.body = b""  # it may be megabytes, and nobody needs it any more
        self._ended.append((flight, time.time()))
        if len(self._ended) >= BATCH:
            self.settle()

    def settle(self) -> None:
        """Count what has ended, and write its lines: before anybody reads either."""
        self._gap_times.observe_all(self.gaps)
        self.gaps.clear()
        ended, self._ended = self._ended, []
        for flight, at in ended:
            try:
                self._settle(flight, at)
            except Exception:  # one record is lost, not those after it
                log.exception("request %s was not counted", flight.call.view.request_id)

    def _settle(self, flight: FlightRecord, at: float) -> None:
        exchange, view = flight.exchange, flight.call.view
        outcome = exchange.outcome or Outcome.INVALID
        bundle = self._bundles.get((view.api, view.model, view.stream)) or self._bundle(view)
        bundle.outcomes[outcome] += 1
        if view.stream:
            bundle.promise(flight, view, outcome)
        decision = exchange.decision
        if decision is not None:
            self._dispatched(flight, decision, bundle, outcome)
        if exchange.retried or exchange.rejected is not None:
            self._went_wrong(exchange)
        ended_at = flight.ended_at
        if ended_at is not None:
            bundle.duration.observe(ended_at - flight.arrived_at)
        entry = entry_of(flight, at)
        self.receipts.append(entry)
        if self.access_log.enabled and (
            outcome is not Outcome.OK or self.sample >= 1.0 or self._rng.random() < self.sample
        ):
            self.access_log.write(entry)

    def _went_wrong(self, exchange: Exchange) -> None:
        """The failures after which it was tried elsewhere, and why it was shed."""
        for failure in exchange.retried:
            self._retries.add((failure.value,))
        if exchange.rejected in SHED_BECAUSE:
            self._shed.add((exchange.rejected.value,))

    def _bundle(self, view: RequestView) -> Bundle:
        """The series of a request's kind; those of models that are none share one."""
        fleet, model = self._fleet, view.model
        if model not in fleet.models() and fleet.overlay.dormant(model) is None:
            model = OTHER_MODEL
        key = (view.api, model, view.stream)
        bundle = self._bundles.get(key)
        if bundle is None:
            if len(self._bundles) >= MAX_BUNDLES:
                self.flush()
                self._bundles.clear()
            masses = self._masses.of(model)
            bundle = Bundle(self._registry, view.api.value, model, view.stream, masses)
            self._bundles[key] = bundle
        return bundle

    def _dispatched(
        self, flight: FlightRecord, decision: Decision, bundle: Bundle, outcome: Outcome
    ) -> None:
        """What the decision promised and what came of it."""
        view, chosen = flight.call.view, decision.chosen
        tally = self._tallies.get(chosen.endpoint.id)
        if tally is None:
            tally = self._tallies[chosen.endpoint.id] = Tally()
        self._reasons[decision.reason] += 1
        self._decision_time.observe(flight.decision_s)
        tally.outcomes[outcome] += 1
        tally.tokens += view.prompt.tokens
        tally.hit_tokens += chosen.hit_tokens
        bundle.masses.note(decision.key, decision.depth, view.prompt.tokens, chosen)
        dispatched_at, first_byte_at = flight.dispatched_at, flight.exchange.first_byte_at
        if dispatched_at is not None:
            bundle.queue.observe(dispatched_at - flight.arrived_at)
        if first_byte_at is not None and outcome not in ERRORS:
            bundle.ttft.observe(first_byte_at - flight.arrived_at)
            if view.stream and chosen.ttft_s > 0 and dispatched_at is not None:
                took_s = first_byte_at - dispatched_at
                bundle.ratio.observe(took_s / chosen.ttft_s)
                tally.predicted_s += chosen.ttft_s
                tally.actual_s += took_s
        usage = flight.usage
        if usage is not None:
            bundle.prompt += usage.prompt_tokens or 0
            bundle.completion += usage.completion_tokens or 0
            if usage.cached_tokens is not None:
                tally.cached_reports += 1
                tally.cached_predicted += chosen.cached_real_tokens
                tally.cached_actual += usage.cached_tokens
                tally.cached_of += usage.prompt_tokens or 0
