"""Lines of a trace file, plain or gzip-compressed, each with the number to blame it by."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from cardan_sim.traces.request import TraceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GZIP_MAGIC: Final = b"\x1f\x8b"


class Line(NamedTuple):
    """One line of a file: where it stands and what it says (no line end)."""

    path: Path
    number: int
    text: str

    def error(self, what: str) -> TraceError:
        """The error that blames this line."""
        return TraceError(f"{self.path}:{self.number}: {what}")


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a UTF-8 file that are not blank; gzip is known by its first bytes.

    Raises TraceError for a file that is missing, unreadable, cut short or no UTF-8.
    """
    number = 0
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP_MAGIC
        opener = gzip.open if packed else open
        with opener(path, "rt", encoding="utf-8-sig", newline=None) as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    yield Line(path, number, text.rstrip("\n"))
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}:{number + 1}: not UTF-8 text ({error.reason})") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(f"{path}:{number + 1}: broken gzip data: {error}") from error
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from error
