"""The images of this checkout, for clusters in tests: built when the code has changed, and loaded.

An archive is kept under the hash of everything that goes into it, so a second run builds nothing.
Our own clusters take them on the Python base that was built with the cluster; a given one (kind)
takes what its user would build.
"""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING, Final

from e2e.cluster import given
from e2e.cluster import images as bases
from e2e.cluster.errors import UnavailableError
from e2e.cluster.paths import ROOT, cache, cache_root, locked
from tools import build_images
from tools.build_images import TARGETS, BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.cluster.interface import Cluster

REGISTRY: Final = "localhost"
# What .dockerignore lets into a build, and what says how.
INPUTS: Final = (
    *("core", "router", "sim", "cli", "deploy/images"),
    *("pyproject.toml", "constraints.txt", "README.md", "LICENSE"),
)
KEPT: Final = 2  # builds, half a gigabyte each: this checkout's, and the one before or beside it


def load(cluster: Cluster, tag: str = "") -> str:
    """Make the images known to a cluster's nodes; the tag that they have there.

    Another `tag` is the same code under another name: something to upgrade to.

    Raises:
        UnavailableError: they cannot be built here.
    """
    tag = tag or _digest()
    for path in archives(tag).values():
        cluster.load_image(path)
    return tag


def archives(tag: str) -> dict[str, Path]:
    """The archive of each target, built if need be."""
    folder = cache_root() / "built" / f"{_digest()}-{tag}"
    paths = {target: folder / f"{target}.tar" for target in TARGETS}
    with locked(cache_root() / "built.lock"):
        if not all(path.exists() for path in paths.values()):
            _build(paths, tag)
        folder.touch()
        _forget_old(folder.parent)
    return paths


def _build(paths: dict[str, Path], tag: str) -> None:
    try:
        tool = build_images.find_tool()
        base = "" if given.asked_for() else bases.base(cache())
        for target, path in paths.items():
            name = f"{REGISTRY}/cardan-{target}:{tag}"
            build_images.build(target, name, base=base, tool="buildah" if base else tool)
            unfinished = path.with_suffix(".new")
            build_images.archive(name, unfinished, tool="buildah" if base else tool)
            unfinished.rename(path)
    except BuildError as error:
        raise UnavailableError(str(error)) from error


def _digest() -> str:
    """Twelve digits of the hash of everything that goes into an image."""
    found = hashlib.sha256()
    for name in INPUTS:
        for path in sorted(_files(ROOT / name)):
            found.update(f"{path.relative_to(ROOT)}\0".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:12]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]


def _forget_old(folder: Path) -> None:
    """Keep the builds that were used last."""
    by_use = sorted(folder.iterdir(), key=lambda build: build.stat().st_mtime, reverse=True)
    for build in by_use[KEPT:]:
        shutil.rmtree(build, ignore_errors=True)
