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
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        cwd=cwd,
    ) as process:
        try:
            # Never our own input: a tool that asks would wait for a person.
            out, errors = process.communicate(input or "", timeout_s)
        except subprocess.TimeoutExpired as expired:
            process.kill()
            raise CommandError(words, -1, f"no end in {timeout_s:.0f} s") from expired
        except BaseException:  # Ctrl-C: what undoes the command begins when it has ended
            process.kill()
            process.wait()
            raise
    if process.returncode:
        raise CommandError(words, process.returncode, errors + out)
    return out
