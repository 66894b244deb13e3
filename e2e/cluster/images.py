"""The images that only tests need, made without a registry: pause, Python's base, Prometheus.

Each is kept as an OCI archive in the cache; `base` also puts the Python one into buildah's storage,
where a Dockerfile's `ARG BASE` finds it.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import time
from typing import TYPE_CHECKING

from e2e.cluster import commands
from e2e.cluster.errors import UnavailableError
from e2e.cluster.paths import cache
from e2e.cluster.progress import say
from e2e.cluster.versions import BASE_IMAGE, PAUSE_IMAGE, PROMETHEUS, PROMETHEUS_IMAGE

if TYPE_CHECKING:
    from pathlib import Path

WATCHER = f"prometheus-{PROMETHEUS}"
SUITE = "bookworm"
# What a pinned python:3.x-slim image has, as far as a virtual environment and TLS need it.
BASE_PACKAGES = "python3-minimal,python3-venv,ca-certificates"
# debootstrap fetched and unpacked 100 packages in 35 s; slow mirrors exist.
DEBIAN_TIMEOUT_S = 900.0

# One process that sleeps, ends when told to and reaps: it is PID 1 of every pod's sandbox, and of
# the cluster's own namespace.
PAUSE = """\
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void leave(int s) { exit(0); }
static void reap(int s) { while (waitpid(-1, 0, WNOHANG) > 0) ; }
int main(void) {
  signal(SIGINT, leave); signal(SIGTERM, leave); signal(SIGCHLD, reap);
  for (;;) pause();
}
"""


def build() -> None:
    """Make what is missing of them."""
    folder = cache()
    for name, make in (("pause", _pause), ("python", _python), (WATCHER, _prometheus)):
        into = folder / f"{name}.tar"
        if into.exists():
            continue
        say(f"{name} image ...")
        began = time.monotonic()
        scratch = folder / "scratch"  # an interrupted build's is still there
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        make(scratch, into)
        shutil.rmtree(scratch)
        say(f"{name} image: {time.monotonic() - began:.0f} s")
    shutil.rmtree(folder / "debs", ignore_errors=True)
    base(folder)


def base(folder: Path) -> str:
    """The name of the Python base in buildah's storage, put back there if need be from `folder`.

    Raises:
        UnavailableError: it was never built.
    """
    if not commands.output(["buildah", "images", "--quiet", "--filter", f"reference={BASE_IMAGE}"]):
        commands.output(["buildah", "pull", "--quiet", f"oci-archive:{kept('python', folder)}"])
    return BASE_IMAGE


def content() -> str:
    """The Python base by what is in it, packages and their versions: its archive's digest.

    Raises:
        UnavailableError: it was never built.
    """
    with tarfile.open(kept("python")) as archive:
        index = archive.extractfile("index.json")
        assert index is not None
        return str(json.load(index)["manifests"][0]["digest"])


def kept(name: str, folder: Path | None = None) -> Path:
    """The archive of one of these images.

    Raises:
        UnavailableError: it was never built.
    """
    path = (folder or cache()) / f"{name}.tar"
    if not path.exists():
        raise UnavailableError(f"no archive of the {name} image: run `make cluster`")
    return path


def archive(dockerfile: str, context: Path, image: str, into: Path) -> None:
    """Build an image and keep it as an archive, which appears only when it is whole."""
    (context / "Dockerfile").write_text(dockerfile)
    # chroot isolation: no runtime, no namespaces of its own, so it works inside containers too.
    how = ["--quiet", "--isolation", "chroot", "--tag", image, str(context)]
    commands.output(["buildah", "build", *how], timeout_s=DEBIAN_TIMEOUT_S)
    new = into.with_suffix(".new")
    new.unlink(missing_ok=True)
    commands.output(["buildah", "push", "--quiet", image, f"oci-archive:{new}:{image}"])
    new.rename(into)


def _pause(folder: Path, into: Path) -> None:
    (folder / "pause.c").write_text(PAUSE)
    commands.output(["gcc", "-static", "-Os", "-o", "pause", "pause.c"], cwd=folder)
    shutil.copy2(folder / "pause", into.with_suffix(""))  # the namespaces' own first process
    (folder / "pause.c").unlink()
    archive('FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n', folder, PAUSE_IMAGE, into)


def _python(folder: Path, into: Path) -> None:
    root = folder / "rootfs"
    _debootstrap(folder, f"--include={BASE_PACKAGES}", root)
    for lists in ("var/cache/apt", "var/lib/apt/lists"):
        for path in (root / lists).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    archive('FROM scratch\nCOPY rootfs /\nCMD ["python3"]\n', folder, BASE_IMAGE, into)


def _prometheus(folder: Path, into: Path) -> None:
    """Prometheus alone: a static program, on the base for its certificates."""
    shutil.copy2(into.parent / "bin" / "prometheus", folder)
    base(into.parent)
    dockerfile = (
        f"FROM {BASE_IMAGE}\nCOPY prometheus /usr/bin/\n"
        'USER 65532:65532\nWORKDIR /tmp\nENTRYPOINT ["/usr/bin/prometheus"]\n'
    )
    archive(dockerfile, folder, PROMETHEUS_IMAGE, into)


def _debootstrap(folder: Path, *arguments: str | Path) -> None:
    """debootstrap, with what it fetches kept for the next one of this build."""
    packages = folder.parent / "debs"
    packages.mkdir(exist_ok=True)
    *options, root = arguments
    # A mount namespace of its own: what it mounts in the new root ends with it, killed or not.
    how = [
        "unshare",
        "--mount",
        "debootstrap",
        "--variant=minbase",
        f"--cache-dir={packages.resolve()}",
        *options,
    ]
    commands.output([*how, SUITE, root], timeout_s=DEBIAN_TIMEOUT_S)
