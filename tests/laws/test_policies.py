"""Laws of routing policies, over the union: a policy is tested by being in it.

On any fleet, history and request: a policy chooses an endpoint that may be asked, repeats itself
for the same seed and history, predicts finite figures, never raises, and decodes strictly.
"""

from __future__ import annotations

from math import isfinite
from random import Random
from typing import TYPE_CHECKING, NamedTuple, get_args

import msgspec
import pytest
from cardan.decision import Reason
from cardan.errors import ConfigError
from cardan.instants import Monotonic
from cardan.ledger import Ledger, Outcome, Usage
from cardan.metrics import EngineMetrics
from cardan.policies import (
    Affinity,
    AibrixPrefixCache,
    AnyPolicy,
    BoundedLoad,
    CacheAware,
    DualMap,
    DynamoCost,
    LlmDSticky,
    Mode,
    Mooncake,
    Preble,
    SessionHash,
    policy_named,
    policy_names,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.policies.build import NOW, endpoint, fleet_of, pool_of, prompt_of, request_of
from tests.fakes.draining import drain

if TYPE_CHECKING:
    from cardan.decision import Decision
    from cardan.fleet import Fleet
    from cardan.request import RequestView

POLICIES: list[AnyPolicy] = [
    *(kind() for kind in get_args(AnyPolicy) if kind is not DualMap),
    *(DualMap(mode=mode, d=3) for mode in Mode),
    *(DualMap(mode=mode, spill_share=1.0) for mode in Mode),
    # Set up so that a branch which the defaults seldom take is taken often.
    CacheAware(cache_threshold=0.5, balance_abs_threshold=0),
    DynamoCost(temperature=0.5, active_request_weight=3.0),
    Mooncake(balancing_threshold=1.0, transfer_tokens_per_s=95_000.0),
    DualMap(first_sample=1, switch_gain=0.0, late_slos=2.0),
    LlmDSticky(prefix_weight=3.0, queue_weight=2.0, kv_weight=2.0, peak_tokens_per_s=1.0),
    AibrixPrefixCache(imbalance_factor=1.0, imbalance_gap=0),
    Preble(window_s=20.0, shift_ratio=1.0, replicate_ratio=1.0, settled_requests=0),
]


def name(policy: AnyPolicy) -> str:
    """A short name for a test's id."""
    tag = str(policy.__struct_config__.tag)
    return f"{tag}-{policy.mode}-d{policy.d}" if isinstance(policy, DualMap) else tag


# For these alone an endpoint is chosen that is no candidate.
OUTSIDE = frozenset({Reason.SPILL, Reason.FIRST_TURN, Reason.LATE})

every_policy = pytest.mark.parametrize("policy", POLICIES, ids=name)


class Arrival(NamedTuple):
    """One request and what becomes of it."""

    prompt: int
    blocks: int
    tail: bool
    session: str
    stream: bool
    slo_ttft_s: float
    waited_s: float
    excluded: int
    gap_s: float
    ends: bool


arrivals = st.builds(
    Arrival,
    prompt=st.integers(0, 3),
    blocks=st.integers(0, 5),
    tail=st.booleans(),
    session=st.sampled_from(["", "alice", "bob"]),
    stream=st.booleans(),
    slo_ttft_s=st.sampled_from([0.001, 0.5, 5.0]),
    waited_s=st.sampled_from([0.0, 1.0, 100.0]),
    excluded=st.integers(0, 7),
    gap_s=st.sampled_from([0.0, 0.01, 1.0, 30.0]),
    ends=st.booleans(),
)
maybe = st.none() | st.floats(0, 1e6)
scrapes = st.lists(
    st.none()
    | st.builds(
        EngineMetrics,
        at=st.floats(NOW - 10, NOW + 10),
        waiting=maybe,
        running=maybe,
        waiting_uncached_tokens=maybe,
        kv_capacity_tokens=st.none() | st.integers(0, 10**6).map(float),
    ),
    max_size=6,
)


def request(arrival: Arrival, now: float) -> RequestView:
    """Prompts of equal number share all their blocks; chained, so no block has two parents."""
    chain = [
        Random(arrival.prompt * 100 + block).getrandbits(64) for block in range(arrival.blocks)
    ]
    tail = Random(repr((arrival.prompt, arrival.blocks))).getrandbits(64) if arrival.tail else None
    return request_of(
        prompt_of(*chain, tail=tail),
        slo_ttft_s=arrival.slo_ttft_s,
        session=arrival.session,
        stream=arrival.stream,
        arrived_at=now - arrival.waited_s,
    )


class Run:
    """A policy on a fleet through a history of arrivals."""

    def __init__(self, policy: AnyPolicy, fleet: Fleet, draining: int = 0) -> None:
        self.fleet = fleet
        self.chooser = policy.bind()
        self.rng = Random(5)
        self.ledger = Ledger()
        for state in list(fleet.endpoints.values())[:draining]:
            drain(fleet, state.id)

    def scrape(self, told: list[EngineMetrics | None]) -> None:
        for state, metrics in zip(self.fleet.endpoints.values(), told, strict=False):
            if metrics is not None:
                state.observe(metrics)

    def play(self, history: list[Arrival]) -> list[Decision]:
        now, decisions, open_leases = NOW, [], []
        for arrival in history:
            now = Monotonic(now + arrival.gap_s)
            decision = self.decide(arrival, now)
            decisions.append(decision)
            lease = self.ledger.open(request(arrival, now), decision, now)
            open_leases.append(lease)
            if arrival.ends:
                lease = open_leases.pop(0)
                lease.first_token(now)
                lease.close(Outcome.OK, now, Usage(1000, 10, 500))
        return decisions

    def decide(self, arrival: Arrival, now: Monotonic) -> Decision:
        pool = pool_of(self.fleet, now)
        eligible = pool.routable
        if arrival.excluded < len(eligible) > 1:
            eligible = [*eligible[: arrival.excluded], *eligible[arrival.excluded + 1 :]]
        decision = self.chooser.choose(request(arrival, now), pool, eligible, now, self.rng)
        allowed = [*eligible]
        if decision.reason is Reason.DRAINING_WARM:
            assert eligible is pool.routable
            allowed += pool.draining
        assert decision.endpoint in allowed
        assert decision.chosen in decision.candidates or decision.reason in OUTSIDE
        return decision


@every_policy
@settings(max_examples=40)
@given(
    n=st.integers(1, 6),
    draining=st.integers(0, 2),
    told=scrapes,
    history=st.lists(arrivals, max_size=25),
)
def test_it_chooses_one_that_may_be_asked_and_predicts_finite_figures(
    policy: AnyPolicy,
    n: int,
    draining: int,
    told: list[EngineMetrics | None],
    history: list[Arrival],
) -> None:
    run = Run(policy, fleet_of(n), draining)
    run.scrape(told)
    for decision in run.play(history):
        for candidate in (*decision.candidates, decision.chosen):
            figures = (
                candidate.hit_tokens,
                candidate.uncached_tokens,
                candidate.backlog_s,
                candidate.ttft_s,
            )
            assert all(isfinite(figure) and figure >= 0 for figure in figures), figures


@every_policy
@settings(max_examples=20)
@given(n=st.integers(1, 6), told=scrapes, history=st.lists(arrivals, max_size=25))
def test_the_same_seed_and_history_give_the_same_decisions(
    policy: AnyPolicy, n: int, told: list[EngineMetrics | None], history: list[Arrival]
) -> None:
    receipts = []
    for _ in range(2):
        run = Run(policy, fleet_of(n))
        run.scrape(told)
        receipts.append([decision.receipt() for decision in run.play(history)])
    assert receipts[0] == receipts[1]


@pytest.mark.parametrize(
    "policy",
    [SessionHash(), BoundedLoad(), Affinity(), *(DualMap(mode=mode) for mode in Mode)],
    ids=name,
)
@settings(max_examples=20)
@given(order=st.permutations(range(6)), history=st.lists(arrivals, max_size=20))
def test_candidates_by_hash_do_not_depend_on_the_order_of_endpoints(
    policy: AnyPolicy, order: list[int], history: list[Arrival]
) -> None:
    runs = [Run(policy, fleet_of(0)), Run(policy, fleet_of(0))]
    runs[0].fleet.update([endpoint(number) for number in range(6)], NOW)
    runs[1].fleet.update([endpoint(number) for number in order], NOW)
    prompted = [
        arrival for arrival in history if arrival.session and (arrival.blocks or arrival.tail)
    ]
    # Who else is asked follows from what is held, which is chance where predictions are equal.
    by_hash = policy.d if isinstance(policy, DualMap) else None
    decided = [
        [
            [c.endpoint.id for c in run.decide(arrival, NOW).candidates[:by_hash]]
            for arrival in prompted
        ]
        for run in runs
    ]
    assert decided[0] == decided[1]


@every_policy
def test_it_serves_a_fleet_that_changes_under_it(policy: AnyPolicy) -> None:
    run = Run(policy, fleet_of(5))
    rng = Random(3)
    for step in range(60):
        members = rng.sample(range(8), rng.randint(1, 8))
        run.fleet.update([endpoint(number) for number in members], Monotonic(NOW + step))
        run.play([Arrival(step % 3, 4, True, "", True, 5.0, 0.0, 99, 0.0, True)])


@every_policy
def test_its_configuration_survives_a_round_trip(policy: AnyPolicy) -> None:
    assert msgspec.convert(msgspec.to_builtins(policy), AnyPolicy) == policy


@every_policy
def test_a_typo_in_its_configuration_is_an_error_with_a_path(policy: AnyPolicy) -> None:
    entry = {**msgspec.to_builtins(policy), "tehta": 1}
    with pytest.raises(msgspec.ValidationError, match=r"unknown field `tehta`.*\$\[0\]"):
        msgspec.convert([entry], list[AnyPolicy])


def test_a_wrong_value_is_an_error_with_a_path() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.theta"):
        msgspec.convert({"type": "dualmap", "theta": 7}, AnyPolicy)
    with pytest.raises(msgspec.ValidationError, match=r"\$\.mapping"):
        msgspec.convert({"type": "dualmap", "mapping": {"type": "ring"}}, AnyPolicy)


@pytest.mark.parametrize("tag", policy_names())
def test_every_policy_can_be_named(tag: str) -> None:
    assert policy_named(tag).__struct_config__.tag == tag


def test_an_unknown_name_is_answered_with_all_names() -> None:
    with pytest.raises(ConfigError, match=r"'rond-robin'.*dualmap.*round-robin"):
        policy_named("rond-robin")
