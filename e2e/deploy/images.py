"""The images under test, built once for each state of the sources and kept as archives.

An archive carries its image under two tags: one to install, and one to upgrade to. What differs is
the name alone, which is all that a rollout takes.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import shutil
import tarfile
from typing import TYPE_CHECKING, Final, NamedTuple

from e2e.cluster import images as base_images
from e2e.cluster.errors import UnavailableError
from e2e.cluster.paths import ROOT, cache, cache_root, locked
from tools import build_images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.cluster.interface import Cluster

REGISTRY: Final = "localhost"
DOCKERFILES: Final = {
    "router": "deploy/images/Dockerfile",
    "engine": "deploy/images/Dockerfile",
    "client": "e2e/deploy/client/Dockerfile",
}
# What the images are made of (.containerignore lets no more in).
SOURCES: Final = ("core", "router", "sim", "cli", "deploy/images", "e2e/deploy/client")
FILES: Final = ("pyproject.toml", "constraints.txt", "README.md")
# Each set is 0.7 GB.
KEPT: Final = 2


class Tags(NamedTuple):
    """Two tags of the same images: what is installed, and what it is upgraded to."""

    first: str
    second: str


@functools.cache
def tags() -> Tags:
    """The tags of the present sources."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    name = digest.hexdigest()[:12]
    return Tags(f"t{name}", f"t{name}-next")


def archive(target: str) -> Path:
    """The archive of an image of the present sources, built if need be.

    Raises:
        UnavailableError: there is nothing to build with.
    """
    folder = cache_root().parent / "images" / tags().first
    path = folder / f"{target}.tar"
    with locked(folder.parent / ".lock"):
        if not path.exists():
            _build(target, path)
            _forget_old(folder)
        folder.touch()
    return path


def load(cluster: Cluster, *targets: str) -> Tags:
    """Make images known to the cluster's node, under both tags."""
    for target in targets:
        cluster.load_image(archive(target))
    return tags()


def _sources() -> Iterator[Path]:
    found = [path for folder in SOURCES for path in (ROOT / folder).rglob("*") if path.is_file()]
    kept = [path for path in found if "__pycache__" not in path.parts]
    yield from sorted([*kept, *(ROOT / name for name in FILES)])


def _build(target: str, path: Path) -> None:
    try:
        tool = build_images.find_tool()
    except build_images.BuildError as error:
        raise UnavailableError(str(error)) from error
    base = base_images.base(cache()) if tool == "buildah" else ""
    name = f"{REGISTRY}/cardan-{target}:{tags().first}"
    build_images.build(target, name, base=base, tool=tool, dockerfile=DOCKERFILES[target])
    new = path.with_suffix(".new")
    build_images.archive(name, new, tool=tool)
    _name_twice(new, path, f"{REGISTRY}/cardan-{target}:{tags().second}")
    new.unlink()


def _name_twice(source: Path, into: Path, name: str) -> None:
    """Copy an archive as docker writes them, with one more name for its image."""
    half = into.with_suffix(".half")
    with tarfile.open(source) as old, tarfile.open(half, "w") as new:
        for member in old:
            data = old.extractfile(member)
            if member.name == "manifest.json" and data is not None:
                manifest = json.load(data)
                manifest[0]["RepoTags"].append(name)
                told = json.dumps(manifest).encode()
                member.size, data = len(told), io.BytesIO(told)
            new.addfile(member, data)
    half.rename(into)


def _forget_old(folder: Path) -> None:
    """Remove the archives of former sources, but for the latest."""
    others = [path for path in folder.parent.iterdir() if path.is_dir() and path != folder]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
