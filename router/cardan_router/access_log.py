"""The access log: one JSON line for each request, written by a thread so that nothing waits for it.

The event loop only appends to a list. A few times a second the list goes to a thread that writes
it; when the reader of the log is so slow that megabytes pile up, lines are dropped and counted
rather than memory filled or requests held. JSON escapes control characters, so a request id cannot
forge a line.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import select
import stat
import sys
import threading
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

FLUSH_EVERY_S: Final = 0.2
# About 20,000 lines: seconds of a busy gateway.
MAX_PENDING_BYTES: Final = 8 * 1024 * 1024
# More than a fifth of a second's lines of one busy worker.
MAX_WRITE_BYTES: Final = 1024 * 1024
# At shutdown a reader that does not read any more is not waited for.
CLOSE_WAIT_S: Final = 1.0


class AccessLog:
    """Lines to standard output (`-`) or a file; `off` writes nothing.

    `shared` says that other processes write to the same standard output.
    """

    def __init__(self, target: str, on_drop: Callable[[], None], *, shared: bool = False) -> None:
        self.enabled = target != "off"
        self._target = target
        self._on_drop = on_drop
        self._encode = msgspec.json.Encoder().encode
        self._lines: list[bytes] = []
        self._handed = self._gathered = 0
        self._writer = _Writer(target, shared=shared) if self.enabled else None

    def write(self, entry: msgspec.Struct | Mapping[str, object]) -> None:
        """Log one request."""
        writer = self._writer
        if writer is None:
            return
        if self._gathered + self._handed - writer.written > MAX_PENDING_BYTES:
            self._on_drop()
            return
        line = self._encode(entry) + b"\n"
        self._gathered += len(line)
        self._lines.append(line)

    def reopen(self) -> None:
        """Open the file anew: after a rotation, the old one must not grow on."""
        if self._writer is not None and self._target != "-":
            self.flush()
            self._writer.reopen()

    def flush(self) -> None:
        """Hand what has gathered to the thread."""
        if self._lines and self._writer is not None:
            lines, self._lines = self._lines, []
            self._handed += self._gathered
            self._gathered = 0
            self._writer.hand(lines)

    def close(self, wait_s: float = CLOSE_WAIT_S) -> None:
        """Write what is left, and wait for that; without `wait_s` it is written in passing."""
        if self._writer is not None:
            self.flush()
            self._writer.close(wait_s)


class _Writer:
    """The thread: a daemon, since a write to a full pipe may never return."""

    def __init__(self, target: str, *, shared: bool) -> None:
        self.written = 0
        self._target = target
        self._shared = shared
        self._file = self._open()
        self._queue: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def hand(self, lines: list[bytes]) -> None:
        self._queue.put(lines)

    def reopen(self) -> None:
        self._queue.put([])

    def close(self, wait_s: float) -> None:
        self._queue.put(None)
        self._thread.join(wait_s)

    def _open(self) -> io.FileIO:
        """Unbuffered: a buffer whose lock a stuck write holds would crash the process's end."""
        if self._target == "-":
            file = io.FileIO(sys.stdout.fileno(), "wb", closefd=False)
        else:
            file = io.FileIO(self._target, "ab")
        self._piece_bytes = _whole_bytes(file.fileno(), shared=self._shared)
        return file

    def _write(self, lines: list[bytes]) -> None:
        """Whole lines, in as few writes as keep them whole.

        Each write lets go of the interpreter and fights the event loop for it afterwards.
        """
        piece: list[bytes] = []
        size = 0
        for line in lines:
            if piece and size + len(line) > self._piece_bytes:
                self._put(b"".join(piece))
                piece, size = [], 0
            piece.append(line)
            size += len(line)
        self._put(b"".join(piece))

    def _put(self, piece: bytes) -> None:
        while piece:
            piece = piece[self._file.write(piece) :]

    def _run(self) -> None:
        complained = False
        while (lines := self._queue.get()) is not None:
            try:
                if lines:
                    self._write(lines)
                else:
                    self._file.close()
                    self._file = self._open()
                complained = False
            except (OSError, ValueError) as error:
                if not complained:
                    log.error("the access log cannot be written: %s", error)  # noqa: TRY400
                complained = True
            self.written += sum(map(len, lines))
        if self._target != "-":
            self._file.close()


def _whole_bytes(descriptor: int, *, shared: bool) -> int:
    """Up to how much can be written at once and not be torn by another writer's lines.

    A file takes each write whole. A pipe takes PIPE_BUF whole; more than that only while nobody
    else writes to it: no other worker (`shared`), nor this process's own log.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISFIFO(status.st_mode):
        return MAX_WRITE_BYTES
    try:
        is_log = os.path.samestat(status, os.fstat(sys.stderr.fileno()))
    except (OSError, ValueError):  # there is no standard error, or it is no file
        is_log = False
    return select.PIPE_BUF if shared or is_log else MAX_WRITE_BYTES
