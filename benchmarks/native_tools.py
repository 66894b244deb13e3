"""The C tools: `native/mock.c`, an engine that costs nothing, and `native/lg.c`, a load generator.

They are in C because the thing measured is a gateway that costs tens of microseconds per request:
a generator or an engine in Python would be most of the machine's work and all of its noise. Each is
compiled on first use; the binary's name holds a hash of its source, so a changed source is rebuilt.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from benchmarks.cache import BenchmarkError, cache_dir

SOURCES = Path(__file__).parent / "native"
WARNINGS = ("-O2", "-Wall", "-Wextra")

Tool = Literal["mock", "lg"]


def tool(name: Tool) -> Path:
    """The compiled tool, built now if its source is new. BenchmarkError without a compiler."""
    source = SOURCES / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    binary = cache_dir("native") / f"{name}-{digest}"
    if not binary.exists():
        _compile(source, binary)
    return binary


def _compile(source: Path, binary: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BenchmarkError(
            f"benchmarks/native/{source.name} needs a C compiler (cc, gcc or clang) on the PATH"
        )
    # Built aside and renamed: a second run at the same time never executes half a file.
    aside = binary.with_suffix(f".{os.getpid()}")
    done = subprocess.run(
        [compiler, *WARNINGS, "-o", str(aside), str(source)], capture_output=True, text=True
    )
    if done.returncode:
        raise BenchmarkError(f"{source.name} does not compile: {done.stderr.strip()[:400]}")
    aside.rename(binary)
