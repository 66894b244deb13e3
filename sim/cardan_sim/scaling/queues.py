"""Queues behind a router that sends each request to the shorter of d queues, as a fluid.

`s_k` is the share of servers that hold at least k requests (s_0 = 1). With arrivals at rate a per
server and service at rate m, the many-server limit of join-shortest-of-d (Vvedenskaya, Dobrushin
and Karpelevich 1996; Mitzenmacher 1996) is

    ds_k/dt = a (s_{k-1}^d - s_k^d) - m (s_k - s_{k+1})

whose fixed point is s_k = rho^((d^k - 1)/(d - 1)). Integrating it instead of using the fixed point
gives what an autoscaler is judged by: how long a queue takes to build and to go, and what an
overload leaves behind. Arrivals are Poisson and service exponential in it; faster-than-Poisson
changes come in through `a`.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

# Two candidates: the router's default, which the queue model of the SLO policy assumes as well.
CHOICES: Final = 2
# Gateways do not queue for ever: beyond so many requests a server they turn away.
DEPTH: Final = 200
# Shares below are nothing: a thousandth of a request in a fleet of hundreds.
_NOTHING: Final = 1e-6
_CERTAIN: Final = 1.0 - 1e-9
# A sub-step that moves no share by more than this is at rest for the rest of its step.
_REST: Final = 2e-5
# Explicit steps keep the shares in order up to 1 over the fastest rate.
_STEP: Final = 0.9


class Flow(NamedTuple):
    """Requests per server in one step: `served` left the queue for decoding, `shed` went away."""

    served: float
    shed: float


class Queues:
    """The shares s_1, s_2, ... of a pool of equal servers. `s[0]` is always 1."""

    def __init__(self) -> None:
        """Empty queues."""
        self.s: list[float] = [1.0]
        self._front = 1  # the first place that some servers do not fill

    @property
    def depth(self) -> float:
        """Mean requests per server, the one in service included."""
        return sum(self.s) - 1.0

    @property
    def busy(self) -> float:
        """Share of servers with something to do."""
        return self.s[1] if len(self.s) > 1 else 0.0

    def spread(self, before: int, after: int) -> None:
        """`after - before` empty servers join; what waits stays where it is."""
        share = before / after
        self.s = [1.0, *(s * share for s in self.s[1:])]
        self._front = 1

    def advance(self, arrivals_per_s: float, served_per_s: float, seconds: float) -> Flow:
        """Let `seconds` pass; rates are per server. Returns what flowed, per server."""
        steps = math.ceil(seconds * (CHOICES * arrivals_per_s + served_per_s) / _STEP) or 1
        h = seconds / steps
        served = shed = 0.0
        for left in range(steps, 0, -1):
            busy, full = self.busy, self._full()
            moved = self._sub_step(arrivals_per_s * h, served_per_s * h)
            passed = h * left if moved < _REST else h
            served += served_per_s * busy * passed
            shed += arrivals_per_s * full * passed
            if moved < _REST:
                break
        return Flow(served, shed)

    def late(self, service_s: float, limit_s: float) -> float:
        """Share of requests arriving now that leave the queue after more than `limit_s`.

        An arrival finds place k with s_{k-1}^d - s_k^d, and leaves after k exponential services
        of `service_s`: in time with P(Poisson(limit/service) >= k).
        """
        x = limit_s / service_s
        mass = math.exp(-x)
        below, total = mass, 0.0  # P(Poisson < k), and the sum over places so far
        for k in range(1, len(self.s)):
            total += below * (self.s[k - 1] ** CHOICES - self.s[k] ** CHOICES)
            mass *= x / k
            below = min(1.0, below + mass)
            if below > _CERTAIN:
                return min(1.0, total + self.s[k] ** CHOICES)
        return min(1.0, total + below * self.s[-1] ** CHOICES)

    def _full(self) -> float:
        """Probability that both candidates are at the bound."""
        return self.s[DEPTH] ** CHOICES if len(self.s) > DEPTH else 0.0

    def _sub_step(self, a: float, m: float) -> float:
        """One explicit step (rates times its length); the largest change of a share."""
        s = self.s
        if len(s) <= DEPTH and (len(s) == 1 or s[-1] > _NOTHING):
            s.append(0.0)
        largest, last, front = 0.0, len(s) - 1, self._find_front()
        squared = s[front - 1] ** CHOICES  # of the place before, as it was
        for k in range(front, last + 1):
            here = s[k]
            here2 = here * here
            after = s[k + 1] if k < last else 0.0
            change = a * (squared - here2) - m * (here - after)
            s[k] = here + change
            squared = here2
            if change > largest or change < -largest:  # max() would be half of a day's time
                largest = abs(change)
        while len(s) > 2 and s[-1] < _NOTHING and s[-2] < _NOTHING:
            s.pop()
        return largest

    def _find_front(self) -> int:
        """Where to begin: places that (all but) every server fills do not change."""
        s, front = self.s, min(self._front, len(self.s) - 1)
        while front > 1 and s[front] < 1.0 - _NOTHING:
            front -= 1
        while front < len(s) - 1 and s[front] > 1.0 - _NOTHING:
            front += 1
        self._front = max(1, front - 1)
        return self._front


def settled(rho: float) -> Queues:
    """Queues at rest under a load of `rho` < 1 (the fixed point)."""
    queues = Queues()
    share = rho
    while share > _NOTHING and len(queues.s) <= DEPTH:
        queues.s.append(share)
        share = rho * share**CHOICES
    return queues
