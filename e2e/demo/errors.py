"""What the demo ends with when something it was to show is not so."""

from __future__ import annotations


class DemoError(Exception):
    """The message says what, and what was seen instead."""
