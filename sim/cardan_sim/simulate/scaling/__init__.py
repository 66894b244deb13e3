"""Scenarios of scaling: days of load on a fluid fleet, and who says how many replicas there are.

The fleet, the days and the published autoscalers are those of `cardan_sim.scaling`; the operator's
decision is its own (`cardan.scaling`). Here is what a scenario file may say of them, its runs and
its tables.
"""

from cardan_sim.simulate.scaling.runs import compare, perform_all, runs_of
from cardan_sim.simulate.scaling.scenario import ScalingScenario, read
from cardan_sim.simulate.scaling.table import render, render_page

__all__ = [
    "ScalingScenario",
    "compare",
    "perform_all",
    "read",
    "render",
    "render_page",
    "runs_of",
]
