"""Two kinds of time that must not be mixed.

The core never reads a clock. A shell reads one once per step and passes it down.
"""

from __future__ import annotations

from typing import NewType

Monotonic = NewType("Monotonic", float)
"""Seconds on a clock that never jumps; its zero means nothing. Everything in a process uses it."""

WallTime = NewType("WallTime", float)
"""Seconds since 1970 UTC; only for what outlives a process or is shown to a person."""
