"""The process that keeps one cluster alive exactly as long as somebody wants it.

Whoever uses a cluster holds a connection to its keeper, and the keeper ends the cluster when the
last one is gone: after a test session, after Ctrl-C, after `kill -9` of pytest alike, for the
kernel closes the connections of the dead. Its starter's is there before the keeper is, which
inherits the other end: there is no moment at which a keeper waits for somebody who never comes.
Several processes (the workers of pytest-xdist) share a cluster by each holding a connection.
`kept` makes it stay without holders, until `ended`.

The keeper's own death needs care of another kind. Every daemon is started with a parent-death
signal; those of a full cluster live in a PID, a mount and a network namespace of which the first
process dies with the keeper, and the kernel ends all that is in there: daemons, shims, containers,
mounts, bridge. What may stay behind then is files and empty cgroups, which the next start removes.

Requests and answers are JSON, one per line. Run by `held` as

    python -m e2e.cluster.keeper FOLDER LOCK_FD STARTER_FD
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from e2e.cluster import cgroups, procs

Answer = dict[str, Any]
# The kernel's own way of saying "end me with my parent", set by util-linux before the program runs.
BOUND = ["setpriv", "--pdeathsig", "KILL", "--"]
# --kill-child binds the first process of the namespaces to unshare, and unshare is bound to us.
# Propagation starts private, so no mount of ours is seen outside.
NAMESPACES = [
    "unshare",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--",
]
END_DEADLINE_S = 10.0


class Keeper:
    """One cluster's processes, its holders, and its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: dict[str, asyncio.subprocess.Process] = {}
        self.first: int | None = None  # host's pid of the namespaces' first process
        self.holders = 0
        self.kept = False
        self.ready = False
        self.ended = asyncio.Event()

    async def serve(self, starter: socket.socket) -> None:
        """Answer holders until the cluster is to end, then end it and remove its folder."""
        connection = await asyncio.open_unix_connection(sock=starter)
        server = await asyncio.start_unix_server(self._hold, self.folder / "keeper.sock")
        filling = asyncio.create_task(self._be_filled(*connection))
        await self.ended.wait()
        server.close()
        await self._end()
        filling.cancel()

    async def _be_filled(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one who has to fill the cluster: nobody else will finish it."""
        await self._hold(reader, writer)
        if not self.ready:
            self.ended.set()

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.holders += 1
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(json.loads(line))).encode() + b"\n")
                await writer.drain()
        writer.close()
        self.holders -= 1
        if not self.holders and not self.kept:
            self.ended.set()

    async def _answer(self, request: Answer) -> Answer:
        try:
            match request.pop("do"):
                case "start":
                    return await self._start(**request)
                case "stop":
                    return await self._stop(**request)
                case "unshare":
                    return await self._unshare(**request)
                case "signal":
                    return self._signal(**request)
                case "set":
                    return self._set(**request)
                case "pids":
                    return self._pids()
                case _:
                    return self._status()
        except (KeyError, OSError, TypeError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _set(self, what: str) -> Answer:
        """ready: its starter has finished. kept: it needs no holders. ended: at once."""
        match what:
            case "ready":
                self.ready = True
            case "kept":
                self.kept = True
            case "ended":
                self.ended.set()
        return {}

    async def _unshare(self, argv: list[str]) -> Answer:
        """Make the namespaces, with `argv` as the first process in them."""
        outer = await self._spawn("namespaces", [*BOUND, *NAMESPACES, *argv])
        self.first = await procs.only_child(outer.pid)
        return {"pid": self.first}

    async def _start(
        self, name: str, argv: list[str], inside: bool = False, listen: int | None = None
    ) -> Answer:
        """Start a daemon. `listen`: a port of this machine's loopback whose socket it inherits."""
        if inside:
            enter = ["nsenter", "--target", str(self.first), "--net", "--mount", "--pid", "--"]
            argv = [*enter, *argv]
        if listen is None:
            await self._spawn(name, [*BOUND, *argv])
            return {}
        with socket.create_server(("127.0.0.1", listen)) as listener:
            fd = listener.fileno()
            argv = [part.format(fd=fd) for part in argv]
            await self._spawn(name, [*BOUND, *argv], pass_fds=(fd,))
        return {}

    async def _spawn(
        self, name: str, argv: list[str], pass_fds: tuple[int, ...] = ()
    ) -> asyncio.subprocess.Process:
        log = (self.folder / "logs" / f"{name}.log").open("ab")
        with log:
            daemon = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=pass_fds
            )
        self.daemons[name] = daemon
        return daemon

    async def _stop(self, name: str, grace_s: float = 0.0) -> Answer:
        """End a daemon: SIGTERM if it is given time, SIGKILL after it."""
        daemon = self.daemons[name]
        if daemon.returncode is None and grace_s:
            self._signal(name, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(daemon.wait(), grace_s)
        if daemon.returncode is None:
            self._signal(name, signal.SIGKILL)
        return {"code": await daemon.wait()}

    def _signal(self, name: str, signum: int) -> Answer:
        pids = {self._pid(name)}
        if signum == signal.SIGCONT:  # nsenter stops with what it runs
            pids.add(self.daemons[name].pid)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
        return {}

    def _pid(self, name: str) -> int:
        """The daemon itself: nsenter forks to get into a PID namespace, and passes nothing on."""
        outer = self.daemons[name].pid
        if procs.name(outer) == "nsenter" and (inner := procs.children(outer)):
            return inner[0]
        return outer

    def _status(self) -> Answer:
        return {
            "codes": {name: daemon.returncode for name, daemon in self.daemons.items()},
            "first": self.first,
            "keeper": os.getpid(),
            "ready": self.ready,
            "holders": self.holders,
            "kept": self.kept,
        }

    def _pids(self) -> Answer:
        """Whoever lives. Not part of the status, which is asked often: it reads all of /proc."""
        alive = [name for name, daemon in self.daemons.items() if daemon.returncode is None]
        return {"pids": {name: self._pid(name) for name in alive}}

    async def _end(self) -> None:
        """All at once, none of it asked: there is nothing in it that anybody will want again."""
        for name, daemon in self.daemons.items():
            if daemon.returncode is None:
                self._signal(name, signal.SIGKILL)
        if self.first:  # its end is the end of all in the namespaces
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.first, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            waits = [daemon.wait() for daemon in self.daemons.values()]
            await asyncio.wait_for(asyncio.gather(*waits), END_DEADLINE_S)
        await asyncio.to_thread(cgroups.remove, self.folder.name)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)


def main() -> None:
    """Keep the cluster of the folder given; the lock's descriptor is held by being open."""
    folder, lock, starter = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for handle in (lock, starter):
        os.set_inheritable(handle, False)
    # Ctrl-C reaches whoever holds the cluster; what follows from it comes by their connections.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(Keeper(folder).serve(socket.socket(fileno=starter)))


if __name__ == "__main__":
    main()
