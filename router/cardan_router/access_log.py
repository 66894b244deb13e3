"""The access log: one JSON line for each request, written by a thread so that nothing waits for it.

The event loop only appends to a list. A few times a second the list goes to a thread that writes
it; when the reader of the log is so slow that megabytes pile up, lines are dropped and counted
rather than memory filled or requests held. JSON escapes control characters, so a request id cannot
forge a line.
"""

from __future__ import annotations

import io
import logging
import queue
import select
import sys
import threading
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

FLUSH_EVERY_S: Final = 0.2
# About 20,000 lines: seconds of a busy gateway.
MAX_PENDING_BYTES: Final = 8 * 1024 * 1024
# At shutdown a reader that does not read any more is not waited for.
CLOSE_WAIT_S: Final = 1.0


class AccessLog:
    """Lines to standard output (`-`) or a file; `off` writes nothing."""

    def __init__(self, target: str, on_drop: Callable[[], None]) -> None:
        self.enabled = target != "off"
        self._target = target
        self._on_drop = on_drop
        self._lines: list[bytes] = []
        self._handed = self._gathered = 0
        self._writer = _Writer(target) if self.enabled else None

    def write(self, entry: Mapping[str, object]) -> None:
        """Log one request."""
        writer = self._writer
        if writer is None:
            return
        if self._gathered + self._handed - writer.written > MAX_PENDING_BYTES:
            self._on_drop()
            return
        line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
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

    def close(self) -> None:
        """Write what is left, within a second."""
        if self._writer is not None:
            self.flush()
            self._writer.close()


class _Writer:
    """The thread: a daemon, since a write to a full pipe may never return."""

    def __init__(self, target: str) -> None:
        self.written = 0
        self._target = target
        self._file = self._open()
        self._queue: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def hand(self, lines: list[bytes]) -> None:
        self._queue.put(lines)

    def reopen(self) -> None:
        self._queue.put([])

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join(CLOSE_WAIT_S)

    def _open(self) -> io.FileIO:
        """Unbuffered: a buffer whose lock a stuck write holds would crash the process's end."""
        if self._target == "-":
            return io.FileIO(sys.stdout.fileno(), "wb", closefd=False)
        return io.FileIO(self._target, "ab")

    def _write(self, lines: list[bytes]) -> None:
        """Whole lines in pieces that a pipe takes at once: workers share standard output."""
        piece = b""
        for line in lines:
            if piece and len(piece) + len(line) > select.PIPE_BUF:
                self._put(piece)
                piece = b""
            piece += line
        self._put(piece)

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
