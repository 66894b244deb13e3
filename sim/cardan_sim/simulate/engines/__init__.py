"""Engine models behind one interface: a prefill queue, and the step-level engine."""

from cardan_sim.simulate.engines.prefill import PrefillSpec

AnyEngine = PrefillSpec

__all__ = ["AnyEngine", "PrefillSpec"]
