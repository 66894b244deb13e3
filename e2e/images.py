"""The images of this checkout, for clusters in tests: built when the code has changed, and loaded.

    python -m e2e.images                builds them beforehand, as the make targets do: it may take
                                        minutes, a test may not
    python -m e2e.images --load cardan  brings them into a cluster that runs (`make cluster-images`)

An archive is kept under the hash of everything that goes into it, so a second run builds nothing.
It carries its image under two tags, the same code under another name, so that an upgrade has
somewhere to go. Our own clusters take the images on the Python base that was built with the
cluster; a given one (kind) takes what its user would build, under another hash. A build that a
process has asked for stays while that process lives, whoever else builds meanwhile.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import time
from typing import TYPE_CHECKING, Any, Final

from e2e.cluster import given, held, up
from e2e.cluster import images as bases
from e2e.cluster.errors import UnavailableError, status_of
from e2e.cluster.paths import ROOT, cache, cache_root, claim, locked
from e2e.cluster.progress import say
from tools import build_images
from tools.build_images import DOCKERFILE, TARGETS, BuildError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from e2e.cluster.interface import Cluster

REGISTRY: Final = "localhost"
# A pod of somebody else's: the official OpenAI client and nothing of ours.
CLIENT: Final = "client"
CLIENT_DOCKERFILE: Final = "e2e/deploy/client/Dockerfile"
# What .dockerignore lets into a build, and what says how.
INPUTS: Final = (
    *("core", "kube", "router", "controller", "sim", "cli", "deploy/images", "e2e/deploy/client"),
    *("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "tools/build_images.py"),
)
KEPT: Final = 2  # builds, half a gigabyte each: this checkout's, and the one before or beside it


def load(cluster: Cluster, *targets: str) -> str:
    """Make images known to a cluster's nodes (router and engine); the tag that they have there.

    Raises:
        UnavailableError: they cannot be built here.
    """
    for target in targets or TARGETS:
        cluster.load_image(archive(target))
    return tag()


def tag() -> str:
    """The hash of everything that goes into an image: a letter, so that `helm --set` never takes it
    for a number, and eleven digits.

    Raises:
        UnavailableError: our own base was never built.
    """
    return _tag_on("given" if given.asked_for() else bases.content())


@functools.cache
def _tag_on(base: str) -> str:
    found = hashlib.sha256(base.encode())
    for name in INPUTS:
        for path in sorted(_files(ROOT / name)):
            found.update(f"{path.relative_to(ROOT)}\0".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return f"i{found.hexdigest()[:11]}"


def next_tag() -> str:
    """The other tag of the same images: something to upgrade to."""
    return f"{tag()}-next"


def archive(target: str) -> Path:
    """The archive of an image under both tags, built if need be. It stays while we live.

    Raises:
        UnavailableError: it cannot be built here.
    """
    folder = cache_root() / "built" / tag()
    path = folder / f"{target}.tar"
    with locked(cache_root() / "built.lock", doing="builds images"):
        folder.mkdir(parents=True, exist_ok=True)
        _use(folder)
        if not path.exists():
            began = time.monotonic()
            say(f"{target} image of {tag()} ...")
            _build(target, path)
            say(f"{target} image: {time.monotonic() - began:.0f} s")
        folder.touch()
        _forget_old(folder.parent)
    return path


@functools.cache
def _use(folder: Path) -> int:
    """Share the folder's lock until this process ends; the descriptor that does."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def _build(target: str, path: Path) -> None:
    name = f"{REGISTRY}/cardan-{target}"
    dockerfile = CLIENT_DOCKERFILE if target == CLIENT else DOCKERFILE
    try:
        base = "" if given.asked_for() else bases.base(cache())
        tool = "buildah" if base else build_images.find_tool()
        build_images.build(target, f"{name}:{tag()}", base=base, tool=tool, dockerfile=dockerfile)
        single = path.with_suffix(".single")
        build_images.archive(f"{name}:{tag()}", single, tool=tool)
    except BuildError as error:
        raise UnavailableError(str(error)) from error
    _name_twice(single, path, f"{name}:{next_tag()}")
    single.unlink()


def _name_twice(source: Path, into: Path, name: str) -> None:
    """Copy an archive as docker and buildah write them, with one more name for its image.

    Docker's own table of names is manifest.json. Since version 25 there is OCI's index.json beside
    it, and containerd reads that one where it finds it.
    """
    unfinished = into.with_suffix(".new")
    rename: dict[str, Callable[[Any, str], object]] = {
        "manifest.json": _in_manifest,
        "index.json": _in_index,
    }
    with tarfile.open(source) as old, tarfile.open(unfinished, "w") as new:
        for member in old:
            data = old.extractfile(member)
            if data is not None and (named := rename.get(member.name)):
                told = json.dumps(named(json.load(data), name)).encode()
                member.size, data = len(told), io.BytesIO(told)
            new.addfile(member, data)
    unfinished.rename(into)


def _in_manifest(manifest: list[dict[str, list[str]]], name: str) -> object:
    manifest[0]["RepoTags"].append(name)
    return manifest


def _in_index(index: dict[str, list[dict[str, object]]], name: str) -> object:
    names = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    index["manifests"] += [entry | {"annotations": names} for entry in index["manifests"]]
    return index


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]


def _forget_old(folder: Path) -> None:
    """Keep the builds that were used last, and those that somebody uses."""
    by_use = sorted(folder.iterdir(), key=lambda build: build.stat().st_mtime, reverse=True)
    for build in by_use[KEPT:]:
        if (lock := claim(build)) is not None:
            shutil.rmtree(build, ignore_errors=True)
            os.close(lock)


def main() -> int:
    """Build what is missing, or load it; 1 and a sentence where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m e2e.images")
    parser.add_argument("--load", metavar="CLUSTER", help="into this cluster, built if need be")
    if name := parser.parse_args().load:
        return status_of(lambda: _into(name))
    return status_of(lambda: [archive(target) for target in (*TARGETS, CLIENT)])


def _into(name: str) -> None:
    """Load what the chart runs into the cluster of a person; how to install it is printed."""
    held.check_name(name)
    if not held.found(name):
        raise UnavailableError(f"there is no cluster {name}: run `make cluster`")
    with up.full(name) as cluster:
        load(cluster)
    where = f"image.registry={REGISTRY},image.tag={tag()}"
    print(f"helm upgrade --install cardan deploy/helm/cardan --timeout 2m --wait --set {where}")


if __name__ == "__main__":
    sys.exit(main())
