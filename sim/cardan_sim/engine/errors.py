"""What can be wrong with how a simulated engine is described."""

from __future__ import annotations


class EngineError(Exception):
    """Any mistake in the description of an engine."""


class UnknownModelError(EngineError):
    """No model of that name, or no cost fit of it on that GPU."""


class BadSpecError(EngineError):
    """A size or factor that no engine could run with."""
