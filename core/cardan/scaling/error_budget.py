"""What of a promise is left to be broken: an account of requests that may be late.

A promise of 95 % within a second allows one request of twenty to be late; site reliability
engineers call that the error budget. Nine tenths of it are planned for: promises are looked at by
the day, and what a bad evening owes is not paid back by midnight. Each request earns the account
the planned share, each late one costs it one:

    balance' = (planned - late) / planned * (rate / usual rate) / window

The balance is in windows of the usual traffic and kept within -1 and 1: a month of calm does not
buy a day of misery, and a bad hour is paid back within a window. It is the integral of the error,
so what is planned by it (`factor`) meets the promise in the long run, whatever the queueing model
or the weather of the day are wrong by: in credit a fleet is planned a little below what the model
asks, in debt well above. A fresh fleet begins at zero.

Counting requests and not time matters: a calm night has few, and what it saves is soon spent at
noon. Each counts once: the rate is of requests that ended, over the minutes that the share is of.
What is read is rounded to eighths with hysteresis, so that a fleet at rest is written a few
times and then never again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from cardan.instants import WallTime
from cardan.scaling.learned_mean import MOST_STEP_S, LearnedMean

if TYPE_CHECKING:
    from cardan.scaling.observation import Demand
    from cardan.scaling.spec import SloSpec

# The share that was in time is one of five minutes, half of which lie 150 s back.
SHARE_HALF_LIFE_S: Final = 100.0
STEP: Final = 1 / 8
EPSILON: Final = 1e-6
# Of what may be late, what is planned for. With all of it simulated bursty days kept a promise of
# 95 % on the mean (95.2), and two of five missed it by up to half a point.
PLANNED: Final = 0.9
# In full credit so much less than the model asks. A fleet becomes smaller only if it can carry a
# fifth more (`veto`), and 1.2 * 0.85 is still what the model asks for the demand of now: what is
# saved is spent on headroom alone, and a fleet at constant load does not swing for it.
SPENT: Final = 0.15
# In full debt so much more: the room that single bursts of traffic need (50 %, ServeGen's p99).
RAISED: Final = 0.3


class ErrorBudget(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The account. `balance` is what is read, `exact` (of this process) what it follows.

    `usual` and `recent` (of this process) are requests a second, over hours and over minutes.
    """

    balance: float = 0.0
    usual: LearnedMean = LearnedMean()
    recent: LearnedMean = LearnedMean()
    exact: float | None = None
    at: WallTime | None = None

    def kept(self) -> ErrorBudget:
        """What is persisted of it."""
        return ErrorBudget(balance=self.balance, usual=self.usual.coarse(1.0))


def accounted(budget: ErrorBudget, demand: Demand, slo: SloSpec, now: WallTime) -> ErrorBudget:
    """With what was late since; what is not known costs nothing and earns nothing.

    `demand` is what gateways counted, where each request is one, when it has ended. Of what arrives
    those who wait are a part for as long as they do, and who waits is late.
    """
    step_s = 0.0 if budget.at is None else min(max(now - budget.at, 0.0), MOST_STEP_S)
    rate, attained = demand.requests_per_s.known, demand.attainment.known
    if rate is None or attained is None or step_s <= 0:
        return msgspec.structs.replace(budget, at=now)
    usual = budget.usual.fold(rate, step_s, slo.window_s)
    recent = budget.recent.fold(rate, step_s, SHARE_HALF_LIFE_S)
    planned = (1.0 - slo.attainment) * PLANNED
    earned = (planned - (1.0 - attained)) / planned * _over(recent, usual)
    before = budget.balance if budget.exact is None else budget.exact
    exact = min(max(before + earned * step_s / slo.window_s, -1.0), 1.0)
    balance = _stepped(exact, budget.balance)
    return ErrorBudget(balance=balance, usual=usual, recent=recent, exact=exact, at=now)


def factor(balance: float) -> float:
    """What a plan is to be multiplied by."""
    return 1.0 - balance * (SPENT if balance > 0 else RAISED)


def _over(recent: LearnedMean, usual: LearnedMean) -> float:
    """The traffic of the last minutes over the usual one."""
    mean = usual.value if usual.mean is None else usual.mean
    return (recent.mean or 0.0) / mean if mean > 0 else 0.0


def _stepped(exact: float, balance: float) -> float:
    """To eighths; the same as before while less than one away."""
    return balance if abs(exact - balance) < STEP - EPSILON else round(exact / STEP) * STEP
