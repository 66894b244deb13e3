"""The chance that a request sees its first token in time: a queue before each of n replicas.

Requests arrive at rate lambda, each takes S seconds of prefill on average, and each joins the
shortest of d queues. With rho = lambda S / n, an arrival finds k or more requests before it with
probability t_k, the larger of two things:

- the mean field of join-the-shortest-of-d (Mitzenmacher 2001; Vvedenskaya, Dobrushin and
  Karpelevich 1996): all d queues are that long, rho ^ (d (d^k - 1) / (d - 1)). It is exact for
  endless fleets;
- the pool: the whole fleet has that much to do. Few replicas are one queue with n servers whose
  tail falls by rho for each request, so by rho^m for each place, m = 1 + 0.85 (n - 1); the 0.85 is
  fitted, for two choices do not pool perfectly. It starts at the chance to wait at all, rho ^
  (sqrt(2 (n + 1)) - 1) (Sakasegawa 1977).

Who finds k - 1 before it waits for k services, which are taken as exponential (prompts are that
uneven): an Erlang-k time. So

    P(TTFT <= tau) = sum over k of (t_(k-1) - t_k) P(Erlang_k(S) <= tau)

Against a discrete-event simulation (tests/core/scaling/test_queueing.py has one) with n from 1 to
32, rho up to 0.93 and tau from 3 to 20 S, where at least 0.85 are in time: within one point (root
mean square), six at worst. The mean field alone says of two replicas what eight can do: it would
run a pair at rho = 0.73 where 0.54 is right.

d is two, the pair that a key's two hashes choose, but never more than there are replicas; with n
below two the choice fades out, so that the chance is continuous in n and grows with it.

A key on few replicas is its own small queue: p lambda S_p <= owners rho* must hold whatever n is.
"""

from __future__ import annotations

from math import ceil, exp, inf, isfinite, isinf, sqrt
from typing import Final

# The utilisation up to which an owner of a hot key is filled (algorithms of the field: 0.7).
OWNER_RHO: Final = 0.7
# Below this utilisation waiting is rare (an arrival meets two busy queues in one case of six), and
# what is late then is late for its own length, which more replicas do not mend.
LEAST_RHO: Final = 0.4
# Above this a queue takes minutes to come to rest, and no load rests for minutes.
MOST_RHO: Final = 0.9
# How far two choices share their work, as fitted to the simulation.
POOLING: Final = 0.85
# Shares of queues below this are none.
_NEGLIGIBLE: Final = 1e-9
_MOST_PLACES: Final = 400
_BISECTIONS: Final = 14


def attained(n: float, rate: float, service_s: float, ttft_s: float, d: float = 2.0) -> float:
    """P(TTFT <= ttft_s), 0..1, for `rate` requests/s of `service_s` each on `n` replicas."""
    if ttft_s <= 0 or n <= 0:
        return 0.0
    if service_s <= 0:
        return 1.0
    return in_time(rate * service_s / n, ttft_s / service_s, n, d)


def in_time(rho: float, budget: float, n: float = inf, d: float = 2.0) -> float:
    """P(TTFT <= `budget` mean services) at utilisation `rho`; endless n is the mean field."""
    if rho >= 1:
        return 0.0
    d = min(max(n, 1.0), max(d, 1.0))
    total, shorter = 0.0, 1.0
    poisson, early = exp(-min(budget, 700.0)), 1.0
    exponent, power = 0.0, 1.0
    pooled, fall = _pool(rho, n)
    for place in range(1, _MOST_PLACES):
        early -= poisson  # P(Erlang_k <= tau) = 1 - sum over i < k of the Poisson probabilities
        poisson *= budget / place
        exponent, power = exponent + power, power * d
        longer = max(rho ** (exponent * d), pooled)
        total += (shorter - longer) * max(0.0, early)
        shorter, pooled = longer, pooled * fall
        if shorter < _NEGLIGIBLE or early <= 0:
            break
    return min(max(total, 0.0), 1.0)


def least_replicas(
    rate: float, service_s: float, ttft_s: float, target: float, d: float = 2.0
) -> float:
    """The least n, not rounded, with P(TTFT <= ttft_s) >= `target`.

    Utilisation stays within `LEAST_RHO` and `MOST_RHO`: where even an idle fleet is too slow for
    the promise, more replicas do not help.
    """
    work = rate * service_s
    if not isfinite(work) or work <= 0:
        return 0.0
    low, high = work / MOST_RHO, work / LEAST_RHO
    if attained(low, rate, service_s, ttft_s, d) >= target:
        return low
    if attained(high, rate, service_s, ttft_s, d) < target:
        return high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        if attained(middle, rate, service_s, ttft_s, d) >= target:
            high = middle
        else:
            low = middle
    return high


def owners_needed(rate: float, service_s: float) -> int:
    """Replicas that must own a key that brings so many requests/s of `service_s` each."""
    return max(1, ceil(rate * service_s / OWNER_RHO))


def _pool(rho: float, n: float) -> tuple[float, float]:
    """The chance to wait in a pool of n, and by what it falls with each place in the queue."""
    if isinf(n):
        return 0.0, 0.0
    many = max(n, 1.0)
    return rho ** (sqrt(2.0 * (many + 1.0)) - 1.0), rho ** (1.0 + POOLING * (many - 1.0))
