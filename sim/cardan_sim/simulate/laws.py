"""What must hold at the end of every run, whatever the scenario.

1. Every request has exactly one outcome (a second one is an error where it happens).
2. No lease is open, no endpoint has anything in flight or waiting, no queue holds anybody.
3. Every engine is at rest: nothing queued, no block held, free and cached blocks are all there are.
4. Tokens are conserved: what engines say they answered is what the answers say.

Same seed, same decisions, and routing that never reads the length of an answer, are laws too; tests
hold those (a request that routing sees has no such field).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.ledger import Outcome

from cardan_sim.simulate.recorder import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cardan.scheduler import Scheduler

    from cardan_sim.simulate.cluster import Cluster


class ConservationError(AssertionError):
    """Something was lost or made up: a bug of the simulator or of the core."""


def check(cluster: Cluster) -> None:
    """Raise `ConservationError`, naming everything that is wrong."""
    found = [*_outcomes(cluster), *_engines(cluster), *_tokens(cluster)]
    for scheduler in {id(g.scheduler): g.scheduler for g in cluster.gateways}.values():
        found += _ledger(scheduler)
    if found:
        raise ConservationError("; ".join(found[:10]))


def _outcomes(cluster: Cluster) -> Iterator[str]:
    open_ = sum(outcome < 0 for outcome in cluster.recorder.outcome)
    if open_ or cluster.underway:
        yield f"{open_} requests have no outcome, {cluster.underway} are said to be under way"


def _ledger(scheduler: Scheduler) -> Iterator[str]:
    if scheduler.ledger.open_leases:
        yield f"{scheduler.ledger.open_leases} leases are open"
    if scheduler.queue or scheduler.queued_bytes:
        yield f"{len(scheduler.queue)} requests of {scheduler.queued_bytes} bytes are queued"
    for state in scheduler.fleet.endpoints.values():
        load = state.load
        if load.in_flight or load.waiting or load.waiting_tokens or load.context_tokens:
            yield f"{state.id} has {load.in_flight} in flight, {load.waiting_tokens} tokens waiting"
        if load.assigned_tokens:
            yield f"{state.id} has {load.assigned_tokens} tokens assigned"
    if scheduler.queues:
        yield f"{len(scheduler.queues)} requests are assigned"


def _engines(cluster: Cluster) -> Iterator[str]:
    for seat in cluster.seats:
        wrong = seat.model.check_at_rest()
        if wrong is not None:
            yield f"{seat.name}: {wrong}"
        if seat.flights:
            yield f"{seat.name}: {len(seat.flights)} requests are still there"


def _tokens(cluster: Cluster) -> Iterator[str]:
    """Only where nobody was cut off in the middle can answers and engines agree to the token."""
    recorder = cluster.recorder
    ok = OUTCOMES.index(Outcome.OK)
    whole = all(outcome == ok for outcome in recorder.outcome) and max(recorder.attempts) == 1
    if not whole or not len(recorder):
        return
    tallies = [seat.model.tally for seat in cluster.seats]
    for name, engines, answers in (
        ("prompt", sum(t.prompt_tokens for t in tallies), sum(recorder.tokens)),
        ("cached", sum(t.cached_tokens for t in tallies), sum(recorder.cached)),
        ("output", sum(t.output_tokens for t in tallies), sum(recorder.output)),
    ):
        if engines != answers:
            yield f"engines count {engines} {name} tokens, the answers {answers}"
