"""Where the benchmarks keep what takes time to make: compiled tools, peers, request bodies."""

from __future__ import annotations

import os
from pathlib import Path


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message says why in one sentence."""


def cache_dir(*parts: str) -> Path:
    """A folder below `$XDG_CACHE_HOME/cardan/bench` (default `~/.cache`), created if absent."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base.joinpath("cardan", "bench", *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
