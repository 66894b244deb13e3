"""The other end of a keeper's line: hold a cluster, have its daemons started and stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from e2e.cluster import cgroups
from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import ROOT, claim, locked, runs

if TYPE_CHECKING:
    from pathlib import Path

# A keeper is a Python that imports little: 0.1 s here, ten times that on a busy machine.
START_DEADLINE_S = 20.0
END_DEADLINE_S = 30.0
DOING = "starts or ends a cluster"
# A DNS label, and short: it is in the paths of sockets, which end at 107 bytes (see `paths`).
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?")


class Held:
    """A connection to a keeper. While it is open, the cluster lives."""

    def __init__(self, folder: Path, line: socket.socket) -> None:
        self.folder = folder
        self._line = line
        self._answers = line.makefile("rb")
        self._mutex = threading.Lock()  # tests stop and start daemons beside a load

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """One request, one answer.

        Raises:
            ClusterError: the keeper could not, or is gone.
        """
        try:
            answer = self._exchange(json.dumps({"do": do, **arguments}).encode() + b"\n")
        except OSError as error:
            raise ClusterError(f"the keeper of {self.folder.name} is gone: {error}") from error
        if not answer:
            raise ClusterError(f"the keeper of {self.folder.name} is gone")
        told: dict[str, Any] = json.loads(answer)
        if "error" in told:
            raise ClusterError(f"{do} {arguments.get('name', '')}: {told['error']}")
        return told

    def _exchange(self, request: bytes) -> bytes:
        with self._mutex:
            try:
                self._line.sendall(request)
                return self._answers.readline()
            except BaseException:  # after Ctrl-C the next question would hear this one's answer
                self.let_go()
                raise

    def let_go(self) -> None:
        """Close the line; the last one to do so ends the cluster, and returns when it has."""
        self._answers.close()
        self._line.close()


def connect(folder: Path) -> Held | None:
    """Hold the cluster of this folder, or None if it is not there (any more)."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.connect(str(folder / "keeper.sock"))
    except OSError:
        line.close()
        return None
    return Held(folder, line)


def check_name(name: str) -> None:
    """Refuse what cannot name a cluster.

    Raises:
        ClusterError: it is no short DNS label.
    """
    if not NAME.fullmatch(name):
        raise ClusterError(f"{name!r} cannot name a cluster: a-z, 0-9 and -, at most 24 of them")


def found(name: str) -> bool:
    """Whether a cluster of this name lives."""
    with locked(runs() / ".lock", doing=DOING):
        folder = runs() / name
        return folder.is_dir() and not _dead(folder)


def hold(name: str) -> tuple[Held, bool]:
    """Hold the cluster of this name, and whether it is new: then the caller has to fill it.

    Only one of several callers gets a new one; the others get it too and wait for `await_ready`.

    Raises:
        ClusterError: no name for a cluster, or a cluster that neither answers nor ends.
    """
    check_name(name)
    folder = runs() / name
    end = time.monotonic() + END_DEADLINE_S
    while time.monotonic() < end:
        with locked(runs() / ".lock", doing=DOING):
            _sweep()
            if not folder.exists():
                return _create(folder), True
        if held := connect(folder):
            return held, False
        time.sleep(0.05)  # it is about to be born, or about to be gone
    raise ClusterError(f"{folder} neither answers nor ends")


def sweep() -> None:
    """Remove what clusters left whose keepers were killed."""
    with locked(runs() / ".lock", doing=DOING):
        _sweep()


def _sweep() -> None:
    for folder in runs().iterdir():
        if folder.is_dir() and _dead(folder):
            cgroups.remove(folder.name)
            shutil.rmtree(folder, ignore_errors=True)
    if not os.geteuid():  # only root's clusters have groups, so only root knows which are left over
        for name in cgroups.names() - {folder.name for folder in runs().iterdir()}:
            cgroups.remove(name, deadline_s=0.0)  # busy when its cluster ended; if still, next time


def _dead(folder: Path) -> bool:
    """Whether nobody holds the folder's lock, which a keeper does all its life."""
    try:
        lock = claim(folder)
    except FileNotFoundError:
        return False
    if lock is None:
        return False
    os.close(lock)
    return True


def await_ready(held: Held, deadline_s: float) -> None:
    """Wait until whoever started the cluster has finished.

    Raises:
        ClusterError: they gave up, or it takes too long.
    """
    end = time.monotonic() + deadline_s
    while not held.ask("status")["ready"]:
        if time.monotonic() > end:
            raise ClusterError(f"{held.folder.name} did not get ready in {deadline_s:.0f} s")
        time.sleep(0.1)


def await_end(name: str) -> None:
    """Wait until nothing of a cluster is left."""
    end = time.monotonic() + END_DEADLINE_S
    while found(name):
        if time.monotonic() > end:
            raise ClusterError(f"{runs() / name} does not end")
        time.sleep(0.02)


def _create(folder: Path) -> Held:
    (folder / "logs").mkdir(parents=True, mode=0o700)
    lock = claim(folder)
    if lock is None:
        raise ClusterError(f"{folder} is held by somebody else")
    ours, starter = socket.socketpair()
    held = Held(folder, ours)
    try:
        with starter:
            _spawn(folder, lock, starter.fileno())
        ours.settimeout(START_DEADLINE_S)
        held.ask("status")
        ours.settimeout(None)
    except BaseException as error:  # Ctrl-C too
        held.let_go()
        if isinstance(error, ClusterError):
            raise ClusterError(f"{error}: see {folder}/logs/keeper.log") from error
        raise
    finally:
        os.close(lock)  # the keeper has its own copy
    return held


def _environment() -> dict[str, str]:
    """Ours without proxies: an API server would ask one for its own kubelet."""
    return {name: value for name, value in os.environ.items() if "_proxy" not in name.lower()}


def _spawn(folder: Path, lock: int, starter: int) -> None:
    """In a session and with a parent of its own: nobody's Ctrl-C means it, nobody waits for it."""
    keeper = [sys.executable, "-m", "e2e.cluster.keeper", str(folder), str(lock), str(starter)]
    with (folder / "logs" / "keeper.log").open("ab") as log:
        subprocess.run(
            ["setsid", "--fork", *keeper],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock, starter),
            env=_environment(),
            check=True,
        )
