"""Files a command writes at its end: tried at its beginning, and replaced in one step.

A measurement takes minutes, and is lost if only then the folder turns out not to exist. A file is
written beside its place and moved there, so whoever reads it sees the old one or the new one.
Devices and pipes (`/dev/stdout`) are written to directly: there is nothing to replace.
"""

from __future__ import annotations

import errno
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class OutputError(Exception):
    """A file cannot be written; the message names it and says why."""


def check_outputs(paths: Iterable[Path | None]) -> None:
    """Find out whether files can be written, and leave no trace. Raises OutputError."""
    for path in paths:
        if path is not None:
            _check(path)


def _check(path: Path) -> None:
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a directory")
        if not path.resolve().parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"there is no directory {path.parent}")
        if not _is_direct(path):
            trial = _beside(path.resolve())
            trial.touch(exist_ok=False)
            trial.unlink()
    except OSError as error:
        raise _output_error(path, error) from error


def write_output(path: Path, data: bytes | str) -> None:
    """Write a file whole. Raises OutputError; then the file is as it was."""
    content = data.encode() if isinstance(data, str) else data
    try:
        if _is_direct(path):
            path.write_bytes(content)
        else:
            _replace(path.resolve(), content)
    except OSError as error:
        raise _output_error(path, error) from error


def _replace(path: Path, content: bytes) -> None:
    fresh = _beside(path)
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _is_direct(path: Path) -> bool:
    """Whether it is no plain file, or a name for one that another process has open."""
    if path.absolute().is_relative_to("/dev") or path.absolute().is_relative_to("/proc"):
        return True
    return path.exists() and not path.is_file()


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")


def _output_error(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror or error}")
