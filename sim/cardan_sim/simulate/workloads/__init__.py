"""Workloads: recorded traces, sessions that wait for their answers, and made-up requests.

Each is a value in a scenario that decodes into a struct; `jobs` makes its requests, at any rate and
in the order recorded. Adding one is a file here and a word in `AnyWorkload`.
"""

from cardan_sim.simulate.workloads.base import WorkloadError
from cardan_sim.simulate.workloads.made import NoisyTenant, SystemPrompts, ToolAndAgent
from cardan_sim.simulate.workloads.recorded import Trace
from cardan_sim.simulate.workloads.sessions import Sessions

AnyWorkload = Trace | Sessions | ToolAndAgent | SystemPrompts | NoisyTenant

__all__ = [
    "AnyWorkload",
    "NoisyTenant",
    "Sessions",
    "SystemPrompts",
    "ToolAndAgent",
    "Trace",
    "WorkloadError",
]
