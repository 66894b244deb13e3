"""What goes wrong, when, for how long: part of a scenario, with a seed like everything else.

    dies        connections break, nobody answers for `for_s`; it comes back with a cold cache
    stalls      accepts and computes nothing for `for_s`, then goes on where it was
    slows       takes `factor` times as long for `for_s`
    cold        loses its cache in passing: a restart nobody noticed
    joins       `count` engines more, with empty caches
    leaves      discovery drops it: it ends what it has and gets nothing more
    silent      its metrics are missing for `for_s`
    late        all metrics come `by_s` later for `for_s`
    blind       a gateway gets no metrics for `for_s`

Whom it meets is drawn from the run's seed unless `engine` (or `gateway`) names the number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.lifecycle import Failure

from cardan_sim.simulate.watching import probe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan_sim.simulate.world import World

At = Annotated[float, msgspec.Meta(ge=0)]
Index = Annotated[int, msgspec.Meta(ge=0)]


class _Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    at_s: At

    def plan(self, world: World) -> None:
        """Put it in the calendar."""
        raise NotImplementedError


class _ChangeOfEngine(_Change, frozen=True, kw_only=True):
    engine: Index | None = None

    def plan(self, world: World) -> None:
        """Put it in the calendar, for the engine named or one drawn."""
        world.kernel.at(self.at_s, self.begin, world, self.drawn(world))

    def drawn(self, world: World) -> int:
        """The number of the engine that it meets."""
        count = len(world.cluster.seats)
        drawn = world.rng.randrange(count)
        return drawn if self.engine is None else self.engine % count

    def begin(self, world: World, index: int) -> None:
        """It happens."""
        raise NotImplementedError


class _Fault(_Change, frozen=True, kw_only=True):
    for_s: At = 30.0


class _OfEngine(_ChangeOfEngine, frozen=True, kw_only=True):
    for_s: At = 30.0

    def plan(self, world: World) -> None:
        """Put it in the calendar, and its end."""
        index = self.drawn(world)
        world.kernel.at(self.at_s, self.begin, world, index)
        world.kernel.at(self.at_s + self.for_s, self.end, world, index)

    def end(self, world: World, index: int) -> None:
        """It is over."""


class Dies(_OfEngine, frozen=True, tag="dies", kw_only=True):
    """The process ends and another starts."""

    def begin(self, world: World, index: int) -> None:
        """Connections break; who connects from now on is refused."""
        seat = world.cluster.seats[index]
        seat.alive = False
        orphans = world.cluster.replace_model(seat, world.make_engine(index))
        world.cluster.orphan(orphans, Failure.RESET)
        world.see_cache(seat)

    def end(self, world: World, index: int) -> None:
        """It listens again, and knows nothing."""
        world.cluster.seats[index].alive = True


class Stalls(_OfEngine, frozen=True, tag="stalls", kw_only=True):
    """Nothing comes out."""

    def begin(self, world: World, index: int) -> None:
        """What is under way ends, what comes next does not."""
        seat = world.cluster.seats[index]
        seat.model.hold(world.kernel.now + self.for_s, world.kernel.now)
        world.cluster.touched(seat)


class Slows(_OfEngine, frozen=True, tag="slows", kw_only=True):
    """A GPU that throttles."""

    factor: Annotated[float, msgspec.Meta(gt=0)] = 3.0

    def begin(self, world: World, index: int) -> None:
        """From the next step on."""
        world.cluster.seats[index].model.set_speed(self.factor)

    def end(self, world: World, index: int) -> None:
        """As it was."""
        world.cluster.seats[index].model.set_speed(1.0)


class Cold(_ChangeOfEngine, frozen=True, tag="cold", kw_only=True):
    """The cache is gone, the work is not."""

    def begin(self, world: World, index: int) -> None:
        """Whatever nobody holds is forgotten."""
        world.cluster.seats[index].model.forget()


class Joins(_Change, frozen=True, tag="joins", kw_only=True):
    """The fleet grows."""

    count: Annotated[int, msgspec.Meta(ge=1)] = 1

    def plan(self, world: World) -> None:
        """Put it in the calendar."""
        for _ in range(self.count):
            world.kernel.at(self.at_s, world.add_engine)


class Leaves(_ChangeOfEngine, frozen=True, tag="leaves", kw_only=True):
    """The fleet shrinks by one of those that it began with."""

    def begin(self, world: World, index: int) -> None:
        """It is in no list any more."""
        world.cluster.seats[index].member = False
        world.members_changed()


class Silent(_OfEngine, frozen=True, tag="silent", kw_only=True):
    """Metrics of one engine are missing."""

    def begin(self, world: World, index: int) -> None:
        """Scrapes fail."""
        world.scraper.silent.add(index)

    def end(self, world: World, index: int) -> None:
        """Scrapes succeed."""
        world.scraper.silent.discard(index)


class Late(_Fault, frozen=True, tag="late", kw_only=True):
    """All metrics come late."""

    by_s: At = 2.0

    def plan(self, world: World) -> None:
        """Put it in the calendar."""
        world.kernel.at(self.at_s, self._set, world, self.by_s)
        world.kernel.at(self.at_s + self.for_s, self._set, world, 0.0)

    def _set(self, world: World, late_s: float) -> None:
        world.scraper.late_s = late_s


class Blind(_Fault, frozen=True, tag="blind", kw_only=True):
    """One gateway gets no metrics."""

    gateway: Index | None = None

    def plan(self, world: World) -> None:
        """Put it in the calendar, for the gateway named or one drawn."""
        count = len(world.cluster.gateways)
        drawn = world.rng.randrange(count)
        number = drawn if self.gateway is None else self.gateway % count
        world.kernel.at(self.at_s, world.scraper.blind.add, number)
        world.kernel.at(self.at_s + self.for_s, world.scraper.blind.discard, number)


AnyFault = Dies | Stalls | Slows | Cold | Joins | Leaves | Silent | Late | Blind


def plan(faults: Sequence[AnyFault], world: World) -> None:
    """Put all faults in the calendar, and probes beside them where engines may die."""
    for fault in faults:
        fault.plan(world)
    if any(isinstance(fault, Dies) for fault in faults):
        world.kernel.at(0.0, probe, world.cluster)
