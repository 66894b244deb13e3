"""Has one of the files that the configuration was made of become another?

They are looked at every so often rather than watched for events: a look at a handful of files
costs nothing, and it sees an atomic replace, the symlink swap of a mounted ConfigMap or Secret and
a network file system alike. A change counts when it has held still for one interval, so that a
file written in two halves, or a certificate and its key written one after the other, are read once
and whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Modification time, size and inode of each file, links followed; None where there is none.
_Stamps = dict[Path, "tuple[int, int, int] | None"]
# For so many looks that find nothing new a file that is gone is about to be replaced. No tool that
# replaces one takes as long; after that, the others' changes count without it.
WAIT_LOOKS = 3


class FileWatch:
    """A set of files as they were when it was made, or when it last said they changed.

    `settled` says whether the last look found them as the look before did.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known: _Stamps = {path: _stamp(path) for path in paths}
        self._seen = self._known
        self._waited = 0
        self.settled = True

    def renew(self, paths: Iterable[Path]) -> None:
        """Watch these from now on; those known already as they were known.

        What changes between a look and the reload that it brings about is so seen at the next.
        """
        self._known = {p: self._known[p] if p in self._known else _stamp(p) for p in paths}
        self._seen = self._known

    def changed(self) -> bool:
        """True once for each change, at the first look that finds it as the look before did.

        A file that went missing is about to be replaced: that is waited for, but not for long.
        """
        now: _Stamps = {path: _stamp(path) for path in self._known}
        self.settled = now == self._seen
        self._seen = now
        if now == self._known or not self.settled:
            self._waited = 0
            return False
        if any(now[path] is None and stamp for path, stamp in self._known.items()):
            self._waited += 1
            if self._waited < WAIT_LOOKS:
                return False
        self._waited = 0
        self._known = now
        return True


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
