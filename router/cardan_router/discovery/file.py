"""A watched file that lists endpoints.

Its content is compared several times a second, and no events are watched: a poll of one small file
costs nothing, and it sees an atomic replace, a mounted ConfigMap's symlink swap and a network file
system alike. Bad content, or a file that is gone, keeps the last good list: an editor's slip must
not empty a fleet.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cardan.errors import ConfigError

from cardan_router.config_file import decode_endpoints, parse_yaml, read_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cardan.endpoint import Endpoint

log = logging.getLogger(__name__)

# A file that did not change is read in full now and then all the same: file systems with coarse
# time stamps can hide a second change within one tick.
FULL_READ_EVERY = 10


class FileSource:
    """Reads the file, and reports its list whenever that changes."""

    def __init__(
        self,
        path: Path,
        report: Callable[[tuple[Endpoint, ...]], None],
        on_load: Callable[[bool], None],
    ) -> None:
        self.path = path
        self._report = report
        self._on_load = on_load
        self._stamp: tuple[int, int, int] | None = None
        self._text: str | None = None
        self._complaint = ""
        self._looks = 0

    def read(self) -> tuple[str, tuple[Endpoint, ...]]:
        """The file's text and what it lists; raises `ConfigError`. Changes nothing."""
        text = read_text(self.path)
        return text, decode_endpoints(parse_yaml(text, str(self.path)), str(self.path))

    def load(self) -> None:
        """Read and report now; raises `ConfigError` if there is nothing good to start from."""
        self._stamp = self._look()
        self.take(*self.read())

    def take(self, text: str, endpoints: tuple[Endpoint, ...]) -> None:
        """Report what has been read."""
        self._text = text
        self._report(endpoints)
        self._on_load(True)

    def poll(self) -> None:
        """Look once; a change for the better is reported, one for the worse is logged once."""
        stamp = self._look()
        self._looks += 1
        if stamp is not None and stamp == self._stamp and self._looks % FULL_READ_EVERY:
            return
        try:
            text = read_text(self.path)
            if text != self._text:
                self.load()
        except ConfigError as error:
            self._stamp = None  # a bad read is looked at again at every poll
            self._complain(str(error))
            return
        self._stamp = stamp
        self._complaint = ""

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            self._on_load(False)
            log.error("%s; the last good list stays in force", complaint)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
