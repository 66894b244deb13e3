"""The account of late requests: what it is, that it cannot wind up, and that it comes to rest."""

from __future__ import annotations

import msgspec
import pytest
from cardan.instants import WallTime
from cardan.scaling import error_budget
from cardan.scaling.error_budget import ErrorBudget
from cardan.scaling.observation import Datum, Demand, Freshness
from cardan.scaling.spec import SloSpec
from hypothesis import given
from hypothesis import strategies as st

START = 1_700_000_000.0
SLO = SloSpec(attainment=0.95, window_s=3600.0)
HOUR = 240  # ticks


def asked(rate: float, attained: float | None) -> Demand:
    """So many requests a second, of which such a share was in time."""
    return Demand(requests_per_s=known(rate), attainment=known(attained))


def known(value: float | None) -> Datum:
    return Datum() if value is None else Datum(value, WallTime(START), Freshness.FRESH)


class Account:
    """An account that is kept every fifteen seconds."""

    def __init__(self) -> None:
        self.now, self.budget = START, ErrorBudget()

    def see(self, ticks: int, rate: float, attained: float | None) -> float:
        """The balance after so many ticks of such traffic."""
        for _ in range(ticks):
            self.now += 15.0
            demand = asked(rate, attained)
            self.budget = error_budget.accounted(self.budget, demand, SLO, WallTime(self.now))
        return self.budget.balance


def test_a_fleet_that_is_not_known_is_planned_as_the_model_says() -> None:
    assert ErrorBudget().balance == 0.0
    assert error_budget.factor(0.0) == 1.0


def test_a_window_without_anybody_late_earns_all_of_it_and_no_more() -> None:
    account = Account()
    assert account.see(HOUR + 1, 10.0, 1.0) == 1.0
    assert account.see(10 * HOUR, 10.0, 1.0) == 1.0


def test_exactly_what_is_planned_changes_nothing_and_what_is_only_allowed_is_a_little_debt() -> (
    None
):
    assert Account().see(10 * HOUR, 10.0, 0.955) == 0.0
    assert -0.375 <= Account().see(2 * HOUR, 10.0, 0.95) < 0.0


def test_a_bad_hour_is_paid_back_within_a_window() -> None:
    account = Account()
    assert account.see(HOUR, 10.0, 0.0) == -1.0
    assert account.see(HOUR + 1, 10.0, 1.0) >= -0.125


def test_the_night_saves_little_for_noon() -> None:
    account = Account()
    account.see(2 * HOUR, 40.0, 0.955)
    saved = account.see(HOUR // 2, 4.0, 1.0)
    assert 0.0 <= saved <= 0.125


def test_a_burst_costs_as_many_as_were_late() -> None:
    # Requests of each tick, and how many of them were in time: ten minutes of twice the traffic,
    # of which the first 200 s are late.
    calm, late, served = (150.0, 143.25), (300.0, 0.0), (300.0, 286.5)
    ticks = [calm] * 400 + [late] * 13 + [served] * 27 + [calm] * 60
    slo = SloSpec(attainment=0.95, window_s=86_400.0)
    now, budget = START, ErrorBudget()
    for place, (requests, _) in enumerate(ticks, 1):
        now += 15.0
        window = ticks[max(0, place - 20) : place]  # five minutes
        share = sum(kept for _, kept in window) / sum(all_ for all_, _ in window)
        budget = error_budget.accounted(budget, asked(requests / 15.0, share), slo, WallTime(now))
    lost = sum(0.955 * requests - kept for requests, kept in ticks)
    usual = 10.3  # requests a second, by the end of the burst
    assert budget.exact == pytest.approx(-lost / 0.045 / usual / slo.window_s, rel=0.05)


def test_what_is_not_known_costs_nothing_and_earns_nothing() -> None:
    account = Account()
    before = account.see(HOUR // 2, 10.0, 1.0)
    assert account.see(HOUR, 10.0, None) == before


def test_an_outage_of_the_operator_counts_for_a_minute() -> None:
    account = Account()
    account.see(2, 10.0, 0.955)
    account.now += 86_400.0
    assert account.see(1, 10.0, 0.0) >= -0.5


def test_debt_is_answered_with_more_and_credit_with_a_little_less() -> None:
    assert error_budget.factor(-1.0) == pytest.approx(1.3)
    assert error_budget.factor(1.0) == pytest.approx(0.85)


def test_a_fleet_at_rest_is_written_a_few_times_and_then_never() -> None:
    account = Account()
    written = set()
    for _ in range(4 * HOUR):
        account.see(1, 10.0, 0.99)
        written.add(msgspec.json.encode(account.budget.kept()))
    assert len(written) <= 24
    before = account.budget.kept()
    account.see(HOUR, 10.0, 0.99)
    assert account.budget.kept() == before


def test_a_new_leader_resumes_from_what_was_written() -> None:
    account = Account()
    account.see(HOUR + 1, 10.0, 1.0)
    text = msgspec.json.encode(account.budget.kept())
    account.budget = msgspec.json.decode(text, type=ErrorBudget)
    assert account.see(1, 10.0, 1.0) == 1.0


@given(
    seen=st.lists(
        st.tuples(st.floats(0.0, 1e4), st.none() | st.floats(0.0, 1.0)), min_size=1, max_size=60
    )
)
def test_whatever_comes_the_balance_stays_within_its_bounds(
    seen: list[tuple[float, float | None]],
) -> None:
    account = Account()
    for rate, attained in seen:
        balance = account.see(1, rate, attained)
        assert -1.0 <= balance <= 1.0
        assert 0.85 <= error_budget.factor(balance) <= 1.3


@given(
    one=st.floats(-1.0, 1.0),
    other=st.floats(-1.0, 1.0),
)
def test_more_credit_is_never_answered_with_more_replicas(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert error_budget.factor(high) <= error_budget.factor(low)
