"""Admission, the bounded queue, and what a policy is given to choose from."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, cast

import msgspec
import pytest
from cardan.decision import Candidate, Decision, Reason
from cardan.endpoint import Endpoint, EndpointId
from cardan.fleet import INTRODUCTION_S, Fleet
from cardan.health import Verdict
from cardan.instants import Monotonic
from cardan.ledger import Outcome
from cardan.lifecycle import Exchange, Failure, Forward, Reject, RejectReason, Wait
from cardan.memory import REMEMBER_S
from cardan.policies import AnyPolicy, LeastRequest, PolicyBase, RoundRobin
from cardan.prompt import EMPTY
from cardan.request import Api, RequestView
from cardan.retries import RetryConfig
from cardan.scheduler import REFUSAL_BACKOFF_S, AdmissionConfig, Scheduler

from tests.fakes.draining import drain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.fleet import EndpointState, Pool

T0 = Monotonic(100.0)


def after(seconds: float) -> Monotonic:
    """An instant that much later than the first."""
    return Monotonic(T0 + seconds)


class Recorder(PolicyBase, tag="recorder", frozen=True):
    """A policy that takes the first it is given and notes what that was."""

    seen: list[tuple[list[str], bool]]

    def bind(self) -> Recorder:
        """It has no memory of its own."""
        return self

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Random,
    ) -> Decision:
        """The first."""
        self.seen.append(([str(state.id) for state in eligible], eligible is pool.routable))
        chosen = Candidate(eligible[0], 0.0, request.prompt.tokens, 0.0, 0.0, 1.0)
        return Decision(chosen, (chosen,), Reason.POLICY)


class Bench:
    """A scheduler over `n` endpoints that serve the model `m`, and what its policy was given."""

    def __init__(self, n: int, admission: AdmissionConfig | None = None) -> None:
        self.fleet = Fleet()
        self.join(n)
        self.policy = Recorder([])
        self.scheduler = Scheduler(
            self.fleet, cast("AnyPolicy", self.policy), random.Random(1), admission=admission
        )

    def join(self, n: int) -> None:
        """Make the fleet so many endpoints."""
        self.fleet.update(
            [Endpoint(url=f"http://e{i}:1", name=f"e{i}", models=("m",)) for i in range(n)], T0
        )

    def state(self, name: str) -> EndpointState:
        """An endpoint's state."""
        return self.fleet.endpoints[EndpointId(name)]

    def exchange(self, model: str = "m", body_bytes: int = 100) -> Exchange:
        """A new request."""
        view = RequestView(
            request_id="r",
            api=Api.CHAT,
            model=model,
            prompt=EMPTY,
            stream=True,
            arrived_at=T0,
            slo_ttft_s=5.0,
            body_bytes=body_bytes,
        )
        return Exchange(self.scheduler, view)

    def given(self, now: Monotonic = T0, exclude: Sequence[str] = ()) -> tuple[list[str], bool]:
        """What the policy is given for a request now, and whether it is the pool's own list."""
        self.scheduler.decide(self.exchange().request, now, exclude)
        return self.policy.seen[-1]


def rejected(action: object) -> Reject:
    """The rejection that an action is."""
    assert isinstance(action, Reject)
    return action


class TestEligible:
    """Who a policy may choose from."""

    def test_everybody_is_the_pools_own_list(self) -> None:
        assert Bench(3).given() == (["e0", "e1", "e2"], True)

    def test_a_limit_that_nobody_has_reached_leaves_the_pools_own_list(self) -> None:
        bench = Bench(2, AdmissionConfig(max_in_flight_per_endpoint=2))
        bench.exchange().arrive(T0)
        assert bench.given() == (["e0", "e1"], True)

    def test_who_is_full_is_left_out(self) -> None:
        bench = Bench(2, AdmissionConfig(max_in_flight_per_endpoint=1))
        bench.exchange().arrive(T0)
        assert bench.given() == (["e1"], False)

    def test_who_this_request_failed_at_is_left_out(self) -> None:
        assert Bench(3).given(exclude=["e1"]) == (["e0", "e2"], False)

    def test_who_refused_is_passed_over_for_a_moment(self) -> None:
        bench = Bench(2)
        bench.scheduler.endpoint_failed(bench.state("e0"), Failure.REFUSED, T0)
        assert bench.given() == (["e1"], False)
        assert bench.given(after(REFUSAL_BACKOFF_S)) == (["e0", "e1"], True)

    def test_when_all_refused_all_are_asked(self) -> None:
        """After a second of 503 from every engine the next request must not find a closed door."""
        bench = Bench(2)
        for name in ("e0", "e1"):
            bench.scheduler.endpoint_failed(bench.state(name), Failure.REFUSED, T0)
        assert bench.given()[0] == ["e0", "e1"]

    @pytest.mark.parametrize("why", ["full", "refused", "tried"])
    def test_a_policy_may_not_choose_a_draining_endpoint_that_must_be_left_out(
        self, why: str
    ) -> None:
        """It may when it is given the pool's own list, for what that endpoint holds warm."""
        bench = Bench(2, AdmissionConfig(max_in_flight_per_endpoint=1))
        if why == "full":
            bench.exchange().arrive(T0)
        elif why == "refused":
            bench.scheduler.endpoint_failed(bench.state("e0"), Failure.REFUSED, T0)
        drain(bench.fleet, EndpointId("e0"))
        exclude = ["e0"] if why == "tried" else []
        assert bench.given(exclude=exclude) == (["e1"], False)

    def test_nobody_left_is_no_decision(self) -> None:
        bench = Bench(1)
        assert bench.scheduler.decide(bench.exchange().request, T0, ["e0"]) is None
        assert bench.scheduler.decide(bench.exchange("other").request, T0) is None


class TestQueue:
    """A request waits only while it may, and never silently too long."""

    def test_without_a_limit_the_engines_queue(self) -> None:
        bench = Bench(1)
        actions = [bench.exchange().arrive(T0) for _ in range(50)]
        assert all(isinstance(action, Forward) for action in actions)

    def test_a_request_waits_for_room_in_the_order_of_arrival(self) -> None:
        bench = Bench(1, AdmissionConfig(max_in_flight_per_endpoint=1, max_wait_s=3.0))
        running, first, second = (bench.exchange() for _ in range(3))
        running.arrive(T0)
        waits = [first.arrive(T0), second.arrive(after(1))]
        assert [wait.until for wait in waits if isinstance(wait, Wait)] == [after(3), after(4)]
        assert list(bench.scheduler.queue) == [first, second]
        running.ended(Outcome.OK, after(2))
        assert isinstance(first.wake(after(2)), Forward)
        assert isinstance(second.wake(after(2)), Wait)
        assert list(bench.scheduler.queue) == [second]

    def test_waking_without_luck_does_not_move_the_end_of_the_wait(self) -> None:
        bench = Bench(0)
        exchange = bench.exchange()
        exchange.arrive(T0)
        wait = exchange.wake(after(4.9))
        assert isinstance(wait, Wait)
        assert wait.until == after(5)

    @pytest.mark.parametrize(
        ("n", "reason"), [(1, RejectReason.QUEUE_TIMEOUT), (0, RejectReason.NO_ENDPOINT)]
    )
    def test_a_wait_ends_with_what_was_missing(self, n: int, reason: RejectReason) -> None:
        bench = Bench(n, AdmissionConfig(max_in_flight_per_endpoint=1))
        bench.exchange().arrive(T0) if n else None
        exchange = bench.exchange()
        exchange.arrive(T0)
        reject = rejected(exchange.wake(after(5)))
        assert (reject.reason, reject.outcome, reject.retry_after_s) == (reason, Outcome.SHED, 1.0)
        assert (len(bench.scheduler.queue), bench.scheduler.queued_bytes) == (0, 0)

    @pytest.mark.parametrize("limits", [{"max_queued_requests": 2}, {"max_queued_bytes": 299}])
    def test_the_queue_is_bounded_in_requests_and_in_bytes(self, limits: dict[str, int]) -> None:
        bench = Bench(0, msgspec.convert(limits, AdmissionConfig))
        actions = [bench.exchange(body_bytes=100).arrive(T0) for _ in range(3)]
        assert [isinstance(action, Wait) for action in actions] == [True, True, False]
        assert rejected(actions[2]).reason is RejectReason.QUEUE_FULL
        assert bench.scheduler.queued_bytes == 200

    def test_without_a_wait_a_request_is_shed_at_once(self) -> None:
        bench = Bench(0, AdmissionConfig(max_wait_s=0.0))
        assert rejected(bench.exchange().arrive(T0)).reason is RejectReason.NO_ENDPOINT

    def test_an_unknown_model_does_not_wait_unless_no_engine_has_spoken_yet(self) -> None:
        assert rejected(Bench(1).exchange("x").arrive(T0)).reason is RejectReason.UNKNOWN_MODEL
        assert isinstance(Bench(0).exchange("x").arrive(T0), Wait)

    def test_a_model_whose_only_endpoint_went_is_waited_for_like_any_without_an_endpoint(
        self,
    ) -> None:
        bench = Bench(1)
        other = Endpoint(url="http://f:1", name="f", models=("other",))
        bench.fleet.update([other], after(1.0))
        assert isinstance(bench.exchange("m").arrive(after(2.0)), Wait)
        late = Bench(1, AdmissionConfig(max_wait_s=0.0))
        late.fleet.update([other], after(1.0))
        assert rejected(late.exchange("m").arrive(after(2.0))).reason is RejectReason.NO_ENDPOINT
        gone = rejected(late.exchange("m").arrive(after(1.0 + REMEMBER_S)))
        assert gone.reason is RejectReason.UNKNOWN_MODEL

    def test_what_is_served_is_remembered_from_when_it_was_last_served(self) -> None:
        bench = Bench(1, AdmissionConfig(max_wait_s=0.0))
        bench.fleet.tick(after(REMEMBER_S))
        bench.fleet.update([Endpoint(url="http://f:1", models=("other",))], after(REMEMBER_S))
        reject = rejected(bench.exchange("m").arrive(after(1.5 * REMEMBER_S)))
        assert reject.reason is RejectReason.NO_ENDPOINT

    def test_an_endpoint_that_has_not_said_what_it_serves_may_serve_anything_for_a_minute(
        self,
    ) -> None:
        bench = Bench(1, AdmissionConfig(max_wait_s=0.0))
        bench.fleet.update([bench.state("e0").endpoint, Endpoint(url="http://new:1")], after(1.0))
        early = rejected(bench.exchange("x").arrive(after(2.0)))
        late = rejected(bench.exchange("x").arrive(after(1.0 + INTRODUCTION_S)))
        assert (early.reason, late.reason) == (
            RejectReason.NO_ENDPOINT,
            RejectReason.UNKNOWN_MODEL,
        )


class TestEvidence:
    """What the outcome of a dispatch says about an endpoint."""

    def test_an_endpoint_that_breaks_thrice_is_left_out_and_back_after_its_back_off(self) -> None:
        bench = Bench(3)
        for _ in range(3):
            bench.scheduler.endpoint_failed(bench.state("e0"), Failure.RESET, T0)
        assert bench.given()[0] == ["e1", "e2"]
        assert bench.given(after(0.5))[0] == ["e0", "e1", "e2"]

    def test_an_endpoint_that_cannot_be_reached_is_left_out_at_once(self) -> None:
        bench = Bench(3)
        bench.scheduler.endpoint_failed(bench.state("e2"), Failure.UNREACHABLE, T0)
        assert bench.given()[0] == ["e0", "e1"]

    def test_an_answer_brings_it_back(self) -> None:
        bench = Bench(2)
        bench.scheduler.endpoint_failed(bench.state("e0"), Failure.UNREACHABLE, T0)
        bench.scheduler.endpoint_answered(bench.state("e0"))
        assert bench.given() == (["e0", "e1"], True)

    def test_a_refusal_shows_that_somebody_is_there(self) -> None:
        bench = Bench(2)
        bench.scheduler.endpoint_failed(bench.state("e0"), Failure.UNREACHABLE, T0)
        bench.scheduler.endpoint_failed(bench.state("e0"), Failure.REFUSED, T0)
        assert bench.state("e0").health.verdict(T0) is Verdict.HEALTHY


class TestReconfigure:
    """A new configuration keeps what runs."""

    def test_a_policy_that_stays_keeps_its_memory_and_a_new_one_starts_afresh(self) -> None:
        fleet = Bench(3).fleet
        scheduler = Scheduler(fleet, RoundRobin(), random.Random(1))
        request = Bench(1).exchange().request

        def next_id() -> str:
            decision = scheduler.decide(request, T0)
            assert decision is not None
            return str(decision.endpoint.id)

        first = next_id()
        scheduler.reconfigure(RoundRobin(), RetryConfig(max_attempts=2), AdmissionConfig())
        second = next_id()
        assert first != second
        assert scheduler.retry.max_attempts == 2
        scheduler.reconfigure(LeastRequest(), RetryConfig(), AdmissionConfig())
        assert scheduler.policy == LeastRequest()
        assert next_id() in {"e0", "e1", "e2"}

    def test_the_retry_budget_is_new_only_with_new_limits(self) -> None:
        bench = Bench(1)
        budget = bench.scheduler.budget
        policy = bench.scheduler.policy
        bench.scheduler.reconfigure(policy, RetryConfig(), AdmissionConfig())
        assert bench.scheduler.budget is budget
        bench.scheduler.reconfigure(policy, RetryConfig(budget_per_s=1.0), AdmissionConfig())
        assert bench.scheduler.budget is not budget


@pytest.mark.parametrize(
    "wrong",
    [{"max_in_flight_per_endpoint": -1}, {"max_queued_requests": -1}, {"max_wait": 1}],
    ids=str,
)
def test_a_wrong_configuration_fails_at_start(wrong: dict[str, int]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, AdmissionConfig)
