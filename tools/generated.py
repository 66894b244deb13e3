"""Files that are written from the code: written, or only compared with what is there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[1]


def write_or_check(files: Mapping[Path, str], command: str, about: str | None) -> int:
    """Write `files`; with `--check` on the command line compare them, and 1 if one is stale.

    `command` is what writes them, as it is told to whoever finds one stale; `about` is `--help`'s.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if parser.parse_args().check:
        return _check(files, command)
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


def _check(files: Mapping[Path, str], command: str) -> int:
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        sys.stderr.write(f"{path.relative_to(ROOT)} is stale: run {command}\n")
    return int(bool(stale))
