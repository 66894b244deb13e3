"""The process that starts workers, restarts them and stops them."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from cardan_router.workers.board import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from cardan_router.config import Address

log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 10.0
# A worker that ran this long did not die of its start; the back-off begins anew.
FORGIVEN_AFTER_S = 60.0
# Beyond the grace that workers give their requests: a worker that hangs is killed.
KILL_AFTER_GRACE_S = 5.0
PR_SET_PDEATHSIG = 1  # prctl(2)

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})


class WorkerSlot(NamedTuple):
    """A worker's place: its number, the board's folder, and whether it speaks for all.

    `addresses` are the listeners' real ones by their field in the configuration.
    """

    number: int
    folder: Path
    addresses: Mapping[str, Address]
    announces: bool

    @property
    def scrapes(self) -> bool:
        """Engines are scraped by one worker for all: more often would be a burden to them."""
        return self.number == 0

    @property
    def name(self) -> str:
        """What metrics call it."""
        return str(self.number)


class _Worker:
    """One place and the process in it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid: int | None = None
        self.started_at = 0.0
        self.starts = 0
        self.backoff_s = FIRST_BACKOFF_S
        self.start_at = 0.0


class _Supervisor:
    def __init__(
        self,
        count: int,
        run: Callable[[WorkerSlot], int],
        addresses: Mapping[str, Address],
        grace_s: Callable[[], float],
    ) -> None:
        self._addresses = addresses
        self._workers = [_Worker(number) for number in range(count)]
        self._run = run
        self._grace_s = grace_s
        self._folder = make_folder()
        self._stopping = False
        self._kill_at = float("inf")
        self._status = 0

    def run(self) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, there would be nothing to wait for
        try:
            while not (self._stopping and all(worker.pid is None for worker in self._workers)):
                self._start_due()
                self._wait()
        finally:
            self._signal(signal.SIGKILL)
            shutil.rmtree(self._folder, ignore_errors=True)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return self._status

    def _start_due(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker.pid is None and not self._stopping and now >= worker.start_at:
                self._fork(worker)

    def _fork(self, worker: _Worker) -> None:
        slot = WorkerSlot(
            worker.number,
            self._folder,
            self._addresses,
            announces=worker.number == 0 and not worker.starts,
        )
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _become_worker(parent)
            _leave(self._run, slot)
        worker.pid, worker.started_at = pid, time.monotonic()
        worker.starts += 1

    def _wait(self) -> None:
        """Sleep until a signal comes or something is due."""
        due = [worker.start_at for worker in self._workers if worker.pid is None]
        until = min([self._kill_at, *([] if self._stopping else due)])
        if until == float("inf"):
            number: int | None = signal.sigwait(_SIGNALS)
        else:
            info = signal.sigtimedwait(_SIGNALS, max(0.0, until - time.monotonic()))
            number = info.si_signo if info else None
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(number)
        elif number == signal.SIGHUP:
            self._signal(signal.SIGHUP)
        self._reap()
        if time.monotonic() >= self._kill_at:
            self._signal(signal.SIGKILL)

    def _stop(self, number: int) -> None:
        """The first time workers end in peace; the second time they see a second signal too."""
        if not self._stopping:
            self._kill_at = time.monotonic() + self._grace_s() + KILL_AFTER_GRACE_S
        self._stopping = True
        self._signal(number)

    def _signal(self, number: int) -> None:
        for worker in self._workers:
            if worker.pid is not None:
                os.kill(worker.pid, number)

    def _reap(self) -> None:
        """Bury every child that ended: workers, and in a container the orphans of others."""
        for pid, wait_status in _ended_children():
            for worker in self._workers:
                if worker.pid == pid:
                    worker.pid = None
                    self._ended(worker, os.waitstatus_to_exitcode(wait_status))

    def _ended(self, worker: _Worker, status: int) -> None:
        if self._stopping:
            if status > 0:
                self._status = self._status or status
            return
        if status == 1 and worker.starts == 1:
            self._status = 1  # it said why it cannot start; no other try would fare better
            self._stop(signal.SIGTERM)
            return
        if time.monotonic() - worker.started_at > FORGIVEN_AFTER_S:
            worker.backoff_s = FIRST_BACKOFF_S
        log.error(
            "worker %d ended with %d; again in %.1f s", worker.number, status, worker.backoff_s
        )
        worker.start_at = time.monotonic() + worker.backoff_s
        worker.backoff_s = min(worker.backoff_s * 2, MAX_BACKOFF_S)


def run_workers(
    count: int,
    run: Callable[[WorkerSlot], int],
    addresses: Mapping[str, Address],
    grace_s: Callable[[], float],
) -> int:
    """Run `count` processes of `run` until a signal ends them; returns the exit status.

    `grace_s` tells how long they may take to end; it is asked when they are told to.
    Must be called before any thread or event loop exists: workers are forked.
    """
    return _Supervisor(count, run, addresses, grace_s).run()


def _ended_children() -> Iterator[tuple[int, int]]:
    """Process ids and wait statuses of children that have ended."""
    while True:
        try:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, wait_status


def _become_worker(parent: int) -> None:
    """Undo the supervisor's signal mask; end when the supervisor does, however it ends.

    A process group of its own keeps a terminal's Ctrl-C from arriving twice: once from the
    terminal and once passed on, which would be a second signal.
    """
    os.setpgid(0, 0)
    # A reload waits until there is something to reload (`App` lets it come then).
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS - {signal.SIGHUP})
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _leave(run: Callable[[WorkerSlot], int], slot: WorkerSlot) -> None:
    """Run the worker and end the process without unwinding the supervisor's frames."""
    status = 1
    try:
        status = run(slot)
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except BaseException:  # the end of this process: whatever it was is logged
        log.exception("worker %d failed", slot.number)
        status = 3
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
