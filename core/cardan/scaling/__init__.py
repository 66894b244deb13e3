"""Scaling decisions: how many replicas, of which pool, and why.

Pure like the rest of the core: observations and memory go in, a decision and memory come out, and
the operator and the simulator do what it says. docs/explanation/scaling.md is the theory.
"""
