"""Supervisors of scripted workers, each in an interpreter of its own.

Not forks of the tests' own process: that one has threads, gRPC's among them, and a fork of it may
find a lock held for ever.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from cardan_router.workers import WorkerSlot, run_workers, supervisor

from tests.fakes.waiting import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Callable


def one_cannot_start() -> int:
    """Worker 1 says that it cannot; worker 0 is ended by the supervisor's SIGTERM."""

    def cannot(slot: WorkerSlot) -> int:
        if slot.number == 1:
            return 1
        time.sleep(3600)
        return 0

    return run_workers(2, cannot, {}, lambda: 3600.0)


def one_hangs() -> int:
    """Both ignore SIGTERM, which worker 0 has asked for."""
    supervisor.KILL_AFTER_GRACE_S = 0.1

    def hangs(slot: WorkerSlot) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if slot.number == 0:
            os.kill(os.getppid(), signal.SIGTERM)
        while True:
            time.sleep(60)

    return run_workers(2, hangs, {}, lambda: 0.1)


def one_is_reloaded_as_it_starts() -> int:
    """A worker asks for a reload before it could take one; 1 if none is passed on."""

    def starts(slot: WorkerSlot) -> int:
        del slot
        os.kill(os.getppid(), signal.SIGHUP)
        if signal.sigtimedwait({signal.SIGHUP}, DEADLINE_S) is None:
            return 1
        os.kill(os.getppid(), signal.SIGTERM)
        return 0

    return run_workers(1, starts, {}, lambda: 1.0)


SCENES: Final[dict[str, Callable[[], int]]] = {
    scene.__name__: scene for scene in (one_cannot_start, one_hangs, one_is_reloaded_as_it_starts)
}


def status_of_scene(scene: Callable[[], int]) -> int:
    """The exit status of a supervisor that plays it."""
    argv = [sys.executable, "-m", "tests.router.supervised", scene.__name__]
    return subprocess.run(argv, timeout=2 * DEADLINE_S, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(SCENES[sys.argv[1]]())
