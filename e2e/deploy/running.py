"""A load on a release that goes on while something is done to it."""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from e2e.cluster.paths import ROOT
from e2e.deploy.load import START_S, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.deploy.release import Release

T = TypeVar("T")
MODEL: Final = "llama-3.1-8b"
RATE_PER_S: Final = 200.0
TOKENS: Final = 16
# The load is at its height when it has started, with the end of the first streams. Pools have idle
# connections then; some have to be used again.
BEFORE_S: Final = 1.0
# What the last step of a change does to new requests shows at once.
AFTER_S: Final = 1.0
# Streams take two to three seconds; what still runs after this hangs.
END_S: Final = 120.0


class Running:
    """A load. `report` is there when it has ended."""

    def __init__(self) -> None:
        self.report: Report | None = None

    def around(self, change: Callable[[], T]) -> tuple[float, T]:
        """Do something in the midst of the load; how long it took, in seconds, and its result."""
        time.sleep(BEFORE_S)
        began = time.monotonic()
        result = change()
        took_s = time.monotonic() - began
        time.sleep(AFTER_S)
        return took_s, result

    def told(self) -> Report:
        """The report. Raises RuntimeError before the end."""
        if self.report is None:
            raise RuntimeError("the load has not ended")
        return self.report


@contextlib.contextmanager
def load(release: Release, rate_per_s: float = RATE_PER_S, *, same: int = 0) -> Iterator[Running]:
    """Load the release's Service while in the context; wait for what runs at its end.

    With `same`, all have one prompt of so many letters.
    """
    host, port = release.address()
    argv = [sys.executable, "-m", "e2e.deploy.load", host, str(port), MODEL]
    options = ["--rate", str(rate_per_s), "--tokens", str(TOKENS), "--same", str(same)]
    child = subprocess.Popen(
        release.cluster.inside([*argv, *options]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    running = Running()
    try:
        if not _started(child):
            raise RuntimeError("the load did not start")
        yield running
        told, _ = child.communicate(timeout=END_S)
        if child.returncode:
            raise RuntimeError(f"the load ended with {child.returncode}")
        running.report = msgspec.json.decode(told, type=Report)
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()


def _started(child: subprocess.Popen[str]) -> bool:
    """Whether it says so; it gives up by itself, and gets as long again to start at all."""
    if child.stdout is None or not select.select([child.stdout], [], [], 2 * START_S)[0]:
        return False
    return child.stdout.readline() == "started\n"
