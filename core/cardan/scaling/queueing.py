"""The chance that a request sees its first token in time: a queue before each of n replicas.

Mean-field model of join-the-shortest-of-d (Mitzenmacher 2001; Vvedenskaya, Dobrushin and
Karpelevich 1996). Requests arrive at rate lambda, each takes S seconds of prefill on average, and
each joins the shorter of d queues. With rho = lambda S / n, the share of queues with at least k
requests is

    pi_k = rho ^ ((d^k - 1) / (d - 1))

An arrival becomes the k-th of its queue with probability pi_(k-1)^d - pi_k^d, and then waits for k
services, which are taken as exponential (prompts are that uneven): an Erlang-k time. So

    P(TTFT <= tau) = sum over k of (pi_(k-1)^d - pi_k^d) P(Erlang_k(S) <= tau)

Against a discrete-event simulation of eight engines with conversations it is within two points up
to rho = 0.87 and eight points optimistic at 0.93 (tests/core/scaling/test_queueing.py holds the
table).

d is two, the pair that a key's two hashes choose, but never more than there are replicas; with n
below two the choice fades out, so that the chance is continuous in n and grows with it.

A key on few replicas is its own small queue: p lambda S_p <= owners rho* must hold whatever n is.
"""

from __future__ import annotations

from math import ceil, exp, isfinite
from typing import Final

# The utilisation up to which an owner of a hot key is filled (algorithms of the field: 0.7).
OWNER_RHO: Final = 0.7
# Below this utilisation waiting is rare (an arrival meets two busy queues in one case of six), and
# what is late then is late for its own length, which more replicas do not mend.
LEAST_RHO: Final = 0.4
# Shares of queues below this are none.
_NEGLIGIBLE: Final = 1e-9
_MOST_PLACES: Final = 400
_BISECTIONS: Final = 40


def attained(n: float, rate: float, service_s: float, ttft_s: float, d: float = 2.0) -> float:
    """P(TTFT <= ttft_s), 0..1, for `rate` requests/s of `service_s` each on `n` replicas."""
    if ttft_s <= 0 or n <= 0:
        return 0.0
    if service_s <= 0:
        return 1.0
    rho = rate * service_s / n
    if rho >= 1:
        return 0.0
    return _sum_over_places(rho, ttft_s / service_s, min(max(n, 1.0), max(d, 1.0)))


def least_replicas(
    rate: float, service_s: float, ttft_s: float, target: float, d: float = 2.0
) -> float:
    """The least n, not rounded, with P(TTFT <= ttft_s) >= `target`.

    Never more than brings utilisation down to `LEAST_RHO`: where even an idle fleet is too slow for
    the promise, more replicas do not help.
    """
    work = rate * service_s
    if not isfinite(work) or work <= 0:
        return 0.0
    low, high = work, work / LEAST_RHO
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


def _sum_over_places(rho: float, budget: float, d: float) -> float:
    """Sum over the place k in the queue; `budget` is how many services fit into the promise."""
    total, shorter = 0.0, 1.0
    poisson, in_time = exp(-min(budget, 700.0)), 1.0
    exponent, power = 0.0, 1.0
    for place in range(1, _MOST_PLACES):
        in_time -= poisson  # P(Erlang_k <= tau) = 1 - sum over i < k of the Poisson probabilities
        poisson *= budget / place
        exponent, power = exponent + power, power * d
        longer = rho ** (exponent * d)
        total += (shorter - longer) * max(0.0, in_time)
        shorter = longer
        if shorter < _NEGLIGIBLE or in_time <= 0:
            break
    return min(max(total, 0.0), 1.0)
