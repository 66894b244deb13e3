"""The veto keeps the least that would be wanted again, and never more than there is."""

from __future__ import annotations

import pytest
from cardan.scaling import veto
from cardan.scaling.decision import ReasonCode
from cardan.scaling.forecast import Foreseen
from cardan.scaling.memory import PoolMemory
from cardan.scaling.planning import Plan
from cardan.scaling.spec import PoolSpec
from cardan.scaling.supply import Supply
from hypothesis import given
from hypothesis import strategies as st


def plan(ready: int, n: int, current: int | None = None) -> Plan:
    """A pool of which so many are ready, and so many are to stay."""
    there = ready if current is None else current
    return Plan(
        pool=PoolSpec(name="engines", max_replicas=1000),
        supply=Supply(current=there, ready=ready),
        speed=1.0,
        n=n,
        memory=PoolMemory(),
    )


def kept(ready: int, n: int, base: float, per_loss: float) -> int:
    """What the veto leaves, where `base` are needed and a lost share of hits needs more."""
    (after,) = veto.vetoed([plan(ready, n)], lambda lost: base * (1.0 + per_loss * lost))
    return after.n


def test_fewer_that_go_take_fewer_hits_along_so_some_may_go_where_all_may_not() -> None:
    # All four at once would lose 40 % of the hits: 6 * 1.2 = 7.2 of 6. Two lose 20 %: 6.6 of 8.
    assert kept(10, 6, 6.0, 0.5) == 7


def test_growth_is_no_business_of_the_veto() -> None:
    grown = plan(4, 9)
    assert veto.vetoed([grown], lambda _: 100.0) == (grown,)


def test_what_does_not_serve_yet_may_go_without_being_asked_for() -> None:
    surplus = plan(4, 4, current=8)
    assert veto.vetoed([surplus], lambda _: 100.0) == (surplus,)


def test_what_is_kept_says_why() -> None:
    (after,) = veto.vetoed([plan(10, 2)], lambda _: 5.0)
    assert after.n == 5
    assert after.reasons[-1].code is ReasonCode.CONSOLIDATION_VETO


@given(
    ready=st.integers(1, 200),
    share=st.floats(0.0, 1.0),
    base=st.floats(0.0, 250.0),
    per_loss=st.floats(0.0, 2.0),
)
def test_the_bisection_finds_the_least_that_is_enough(
    ready: int, share: float, base: float, per_loss: float
) -> None:
    wanted = int(share * ready)

    def enough(n: int) -> bool:
        return n >= base * (1.0 + per_loss * (ready - n) / ready) - veto.EPSILON

    least = next((n for n in range(wanted, ready) if enough(n)), ready)
    assert kept(ready, wanted, base, per_loss) == least


@given(growth=st.floats(1.0, 2.0), rate=st.floats(0.0, 1e4))
def test_a_trial_is_of_the_margin_or_of_what_is_foreseen_whichever_is_more(
    growth: float, rate: float
) -> None:
    tried = veto.tried(Foreseen(requests_per_s=rate * growth, growth=growth))
    assert tried.growth == pytest.approx(max(growth, veto.MARGIN))
    assert tried.requests_per_s == pytest.approx(rate * max(growth, veto.MARGIN))
