"""Run a command to its end and have its output, or an error with all of it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from e2e.cluster.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def output(
    argv: Sequence[str | Path],
    *,
    input: str | None = None,
    timeout_s: float = 120.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """What the command prints.

    Raises:
        CommandError: another status than 0, or no end in time.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=input or "",  # never ours: a tool that asks would wait for a person
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
    except subprocess.TimeoutExpired as expired:
        raise CommandError(words, -1, f"no end in {timeout_s:.0f} s") from expired
    if done.returncode:
        raise CommandError(words, done.returncode, done.stderr + done.stdout)
    return done.stdout
