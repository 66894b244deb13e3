"""The budget of retries is a token bucket: storms spend it, requests and quiet times fill it."""

from __future__ import annotations

from cardan.instants import Monotonic
from cardan.retries import RetryBudget, RetryConfig

from tests.core.exchanges import T0, after


def test_a_calm_does_not_save_up_a_storm() -> None:
    budget = RetryBudget(RetryConfig(budget_per_s=10.0))
    for _ in range(10_000):
        budget.deposit()
    assert _spend(budget, after(1e6)) == 200


def test_five_requests_pay_for_a_retry() -> None:
    budget = RetryBudget(RetryConfig(budget_per_s=0.0))
    _spend(budget, T0)
    for _ in range(50):
        budget.deposit()
    assert _spend(budget, T0) in (9, 10)  # floats


def test_quiet_times_refill_it() -> None:
    budget = RetryBudget(RetryConfig(budget_per_s=10.0))
    _spend(budget, T0)
    assert _spend(budget, after(2)) == 20


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    budget = RetryBudget(RetryConfig())
    _spend(budget, T0)
    assert not budget.withdraw(Monotonic(T0 - 50))


def _spend(budget: RetryBudget, now: Monotonic) -> int:
    count = 0
    while budget.withdraw(now):
        count += 1
    return count
