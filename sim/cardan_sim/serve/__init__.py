"""The simulated engine behind HTTP: `cardan engine`.

The model of `cardan_sim.engine` decides what is generated and when; this shell gives it a clock, a
socket, and the exact manners of a vLLM or an SGLang server: paths, bodies, framing, metrics,
refusals, signals. Everything a client can see of the two makes differs, so each has its own module
under `makes/`; all else is shared.
"""
