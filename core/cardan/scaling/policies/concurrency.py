"""Requests in flight for each replica, over two windows, as Knative's KPA counts them.

Desired is the mean in flight over the stable window (60 s), over the target. A tenth of that window
(6 s) watches for bursts: when it asks for twice what is ready there is a panic, and until a stable
window has passed without one the most that either window has asked for counts. A panic only grows.

In flight are requests at endpoints and those that wait in gateways for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.scaling import windows
from cardan.scaling.decision import ReasonCode
from cardan.scaling.policies.base import ScalingPolicyBase, lacks, silent, told

if TYPE_CHECKING:
    from cardan.endpoint import Role
    from cardan.instants import WallTime
    from cardan.scaling.decision import Recommendation
    from cardan.scaling.view import RoleView
    from cardan.scaling.windows import PolicyMemory


class Concurrency(ScalingPolicyBase, tag="concurrency", frozen=True, kw_only=True):
    """`target` requests in flight for each replica, of which `utilisation` are used.

    `panic_share` is the panic window's part of the stable one, `panic_threshold` how many times
    what is ready it must ask for.
    """

    target: Annotated[float, msgspec.Meta(gt=0)] = 100.0
    utilisation: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.7
    stable_s: Annotated[float, msgspec.Meta(ge=6, le=3600)] = 60.0
    panic_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1
    panic_threshold: Annotated[float, msgspec.Meta(gt=1)] = 2.0

    def remember(self, role: Role, view: RoleView, now: WallTime) -> PolicyMemory:
        """One more sample, and whether there is a panic."""
        memory, many = view.memory, in_flight(view)
        if many is None or not self.speaks_for(role):
            return memory
        samples = windows.note(memory.samples, many, now, self.stable_s)
        memory = msgspec.structs.replace(memory, samples=samples)
        return self._panic(memory, view.ready, now)

    def recommend(self, role: Role, view: RoleView, now: WallTime) -> Recommendation:
        """The stable window's mean over the target; in a panic the most that was asked for."""
        if not self.speaks_for(role):
            return silent(ReasonCode.CONCURRENCY, role)
        memory = view.memory
        many = windows.mean(memory.samples, now, self.stable_s)
        if many is None:
            return lacks(ReasonCode.CONCURRENCY, "in_flight")
        lacking = self._lacking(view, now)
        stable = many / self._each
        if memory.panic_replicas > stable:
            message = f"the short window asked for {memory.panic_replicas:.2f} replicas"
            return told(ReasonCode.PANIC, message, memory.panic_replicas, lacking)
        message = f"{many:.2f} in flight over {self.stable_s:.0f} s, {self._each:.4g} a replica"
        return told(ReasonCode.CONCURRENCY, message, stable, lacking)

    @property
    def _each(self) -> float:
        return self.target * self.utilisation

    def _lacking(self, view: RoleView, now: WallTime) -> tuple[str, ...]:
        if in_flight(view) is None:
            return ("in_flight",)
        covered = windows.covers(view.memory.samples, now, self.stable_s)
        return () if covered else ("stable_window",)

    def _panic(self, memory: PolicyMemory, ready: float, now: WallTime) -> PolicyMemory:
        short = windows.mean(memory.samples, now, self.stable_s * self.panic_share) or 0.0
        stable = windows.mean(memory.samples, now, self.stable_s) or 0.0
        wanted = max(short, stable) / self._each
        if short / self._each >= self.panic_threshold * max(ready, 1.0):
            most = max(wanted, memory.panic_replicas)
            return msgspec.structs.replace(memory, panic_at=now, panic_replicas=most)
        if memory.panic_replicas <= 0:
            return memory
        since = now if memory.panic_at is None else memory.panic_at  # a new leader starts it again
        if now - since >= self.stable_s:
            return msgspec.structs.replace(memory, panic_at=None, panic_replicas=0.0)
        most = max(wanted, memory.panic_replicas)
        return msgspec.structs.replace(memory, panic_at=since, panic_replicas=most)


def in_flight(view: RoleView) -> float | None:
    """Requests at the role's endpoints and waiting in gateways; None if any of it is not known."""
    held = view.observation.demand.held.known
    loads = [load.in_flight.known for load in view.endpoints]
    known = [many for many in loads if many is not None]
    if held is None or len(known) < len(loads):
        return None
    return held + sum(known)
