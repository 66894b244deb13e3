"""The closed loop: workload and plant on one side, a controller on the other, second by second."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from cardan_sim.scaling.plant import Plant, PlantSettings, Totals
from cardan_sim.scaling.sensors import Sensors, SensorSettings

if TYPE_CHECKING:
    from cardan_sim.scaling.controllers import Controller
    from cardan_sim.scaling.workloads import Workload

MINUTE_S: Final = 60.0
# Where in a scrape's interval a tick falls: as old as metrics are on average.
_PHASE_S: Final = 8.0


class Minute(NamedTuple):
    """One line of the time line: means over a minute, counts at its end."""

    at: float
    requests_per_s: float
    in_time: float
    ready: int
    desired: int
    held_gpus: int
    queued: float


class Figures(NamedTuple):
    """What a run came to between two moments of it.

    `attainment` is the share of requests whose first token came in time, `gpu_hours` count pending
    and draining replicas, `turns_per_hour` are changes of direction of the desired number.
    """

    attainment: float
    gpu_hours: float
    turns_per_hour: float
    changes: int


@dataclass(slots=True)
class Run:
    """The record of a closed loop: its time line and every change of the desired number."""

    minutes: list[Minute] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)
    marks: dict[float, Totals] = field(default_factory=dict)

    def figures(self, begin: float, end: float) -> Figures:
        """Between two marks."""
        a, b = self.marks[begin], self.marks[end]
        arrived = b.arrived - a.arrived
        changes = [n for at, n in self.changes if begin <= at <= end]
        before = [n for at, n in self.changes if at < begin][-1:]
        hours = (end - begin) / 3600
        return Figures(
            attainment=(b.in_time - a.in_time) / arrived if arrived else 1.0,
            gpu_hours=(b.gpu_s - a.gpu_s) / 3600,
            turns_per_hour=_turns([*before, *changes]) / hours,
            changes=len(changes),
        )


def close(
    workload: Workload,
    settings: PlantSettings,
    controller: Controller,
    *,
    sensors: SensorSettings | None = None,
    until_s: float | None = None,
) -> Run:
    """Run `controller` on the plant under that load, from the beginning to `until_s`.

    Marks for figures are at 0, at the end of what is for tuning, and at the end.
    """
    plant = Plant(settings, workload.at(0).mix)
    eyes = Sensors(plant, sensors or SensorSettings(), Random(settings.seed + 7))
    run = Run(changes=[(0.0, settings.replicas)])
    end_s = int(until_s or workload.length_s)
    marks = {0.0, workload.tuned_s, float(end_s)}
    run.marks[0.0] = replace(plant.totals)
    next_tick, wanted = _PHASE_S, settings.replicas
    minute = _Minutes()
    for second in range(1, end_s + 1):
        sample = plant.step(workload.at(float(second)))
        eyes.read(sample)
        controller.look(sample)
        if plant.now >= next_tick:
            next_tick += controller.tick_s
            new = controller.desired(eyes, plant.now)
            if new != wanted:
                plant.scale(new)
                run.changes.append((plant.now, new))
                wanted = new
        if second % MINUTE_S == 0:
            run.minutes.append(minute.close(plant, wanted))
        if plant.now in marks:
            run.marks[plant.now] = replace(plant.totals)
    return run


class _Minutes:
    """Differences of the totals from minute to minute."""

    def __init__(self) -> None:
        """From the beginning."""
        self.arrived = self.in_time = 0.0

    def close(self, plant: Plant, wanted: int) -> Minute:
        """The minute that ends now."""
        arrived = plant.totals.arrived - self.arrived
        in_time = plant.totals.in_time - self.in_time
        self.arrived, self.in_time = plant.totals.arrived, plant.totals.in_time
        n = len(plant.replicas.ready)
        return Minute(
            plant.now,
            arrived / MINUTE_S,
            in_time / arrived if arrived else 1.0,
            n,
            wanted,
            plant.replicas.held,
            plant.queues.depth * n + plant.held,
        )


def _turns(counts: list[int]) -> int:
    """How often a series changes its direction."""
    moves = [b - a for a, b in pairwise(counts) if a != b]
    return sum((a > 0) != (b > 0) for a, b in pairwise(moves))
