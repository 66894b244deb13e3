"""Engine models behind one interface: a prefill queue, and the step-level engine."""

from cardan_sim.simulate.engines.prefill import PrefillSpec
from cardan_sim.simulate.engines.steps import Coefficients, StepSpec

AnyEngine = PrefillSpec | StepSpec

__all__ = ["AnyEngine", "Coefficients", "PrefillSpec", "StepSpec"]
