"""The replicas of a pool: asked for, starting, ready, draining, gone. GPUs are held throughout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from random import Random


class Replica(NamedTuple):
    """One replica; `ready_at` is when it will be, or became, ready."""

    name: str
    since: float
    ready_at: float


class Leaving(NamedTuple):
    """A replica that takes nothing new and is gone at `until`, with the requests it still had."""

    name: str
    until: float
    requests: float


@dataclass(slots=True)
class Replicas:
    """Membership of one pool. Cold starts vary by `jitter` (log-normal)."""

    cold_start_s: float
    rng: Random
    jitter: float = 0.1
    desired: int = 0
    ready: list[Replica] = field(default_factory=list)
    starting: list[Replica] = field(default_factory=list)
    leaving: list[Leaving] = field(default_factory=list)
    started: list[Replica] = field(default_factory=list)  # all that ever became ready, in order
    serial: int = 0

    @property
    def held(self) -> int:
        """Replicas that occupy their GPUs now, whether they serve or not."""
        return len(self.ready) + len(self.starting) + len(self.leaving)

    def seed(self, n: int, now: float) -> None:
        """A fleet that has been there for long."""
        self.desired = n
        self.ready = [Replica(self._name(), now - 86_400.0, now - 86_400.0) for _ in range(n)]

    def scale(self, desired: int, now: float) -> list[Replica]:
        """Ask for `desired` replicas; returns the ready ones that must leave now.

        The newest go first, those that are still starting before all: they hold nothing.
        """
        self.desired = desired
        surplus = len(self.ready) + len(self.starting) - desired
        for _ in range(-surplus):
            self.starting.append(self._new(now))
        while surplus > 0 and self.starting:
            self.starting.pop()
            surplus -= 1
        return [self.ready.pop() for _ in range(min(surplus, len(self.ready)))]

    def turn(self, now: float) -> tuple[int, float]:
        """What time does: how many became ready, and the requests of those that finished."""
        up = [replica for replica in self.starting if replica.ready_at <= now]
        if up:
            self.starting = [replica for replica in self.starting if replica.ready_at > now]
            self.ready += up
            self.started += up
        finished = sum(gone.requests for gone in self.leaving if gone.until <= now)
        if self.leaving:
            self.leaving = [gone for gone in self.leaving if gone.until > now]
        return len(up), finished

    def _new(self, now: float) -> Replica:
        takes_s = self.cold_start_s * self.rng.lognormvariate(0.0, self.jitter)
        return Replica(self._name(), now, now + takes_s)

    def _name(self) -> str:
        self.serial += 1
        return f"engine-{self.serial}"
