"""A line now and then, for a person who waits."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """Print a line of progress at once, beside whatever the program's output is."""
    print(line, file=sys.stderr, flush=True)
