"""Builds the images of deploy/images with docker, podman or buildah, whichever is there.

    python tools/build_images.py                        cardan-router:dev and the others
    python tools/build_images.py --tag 1.2 router       one of them
    python tools/build_images.py --archive out/images   and as archives for `ctr images import`

What pip is told on this machine (`PIP_CONFIG_FILE` or /etc/pip.conf, and the certificates of
`PIP_CERT`) pip is told in the build, as secrets that stay in no layer.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
TARGETS: Final = ("router", "controller", "engine")
DOCKERFILE: Final = "deploy/images/Dockerfile"
# chroot isolation needs no namespaces of its own, so it works inside a container too; the steps
# that run are pip's and ours.
BUILDAH_FLAGS: Final = ("--isolation", "chroot", "--layers")
PIP_CONF: Final = "/etc/pip.conf"
# What docker, podman and buildah say where the base image cannot be had.
FETCHING: Final = re.compile(r"\bpull|registry|docker\.io|resolve source metadata|short-name")
NO_REGISTRY: Final = (
    "Is the base image's registry out of reach? Name another base with BASE=IMAGE (--base IMAGE)."
)


class BuildError(Exception):
    """An image cannot be built here; the message says what to do."""


def find_tool() -> str:
    """The first of docker (with a daemon that answers), podman and buildah."""
    if shutil.which("docker") and _works("docker", "info"):
        return "docker"
    for tool in ("podman", "buildah"):
        if shutil.which(tool):
            return tool
    raise BuildError("needs docker, podman or buildah (Debian: apt-get install buildah)")


def build(
    target: str, name: str, *, base: str = "", tool: str = "", dockerfile: str = DOCKERFILE
) -> None:
    """Build one target and call it `name`; `BuildError` with the tool's last words if it fails."""
    tool = tool or find_tool()
    command = [tool, "build", *(BUILDAH_FLAGS if tool == "buildah" else ())]
    command += ["--build-arg", f"BASE={base}"] if base else []
    told = {"VERSION": _version(), "REVISION": _revision()} if dockerfile == DOCKERFILE else {}
    command += [w for key, value in told.items() for w in ("--build-arg", f"{key}={value}")]
    command += [word for secret in _secrets() for word in ("--secret", secret)]
    command += ["-f", dockerfile, "--target", target, "-t", name, "."]
    try:
        _run(command)
    except BuildError as error:
        if not base and FETCHING.search(str(error)):
            raise BuildError(f"{error}\n{NO_REGISTRY}") from error
        raise


def archive(name: str, path: Path, *, tool: str = "") -> None:
    """Write an image that was built as an archive that containerd, docker and kind can load."""
    tool = tool or find_tool()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if tool == "buildah":
        _run([tool, "push", "-q", name, f"docker-archive:{path}:{name}"])
    else:
        _run([tool, "save", "-o", str(path), name])


def _version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def _revision() -> str:
    """The commit of the checkout, with `-dirty` if it is not just that; empty without git."""
    command = ("git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def _secrets() -> list[str]:
    found = {
        "pip": os.environ.get("PIP_CONFIG_FILE") or PIP_CONF,
        "ca": os.environ.get("PIP_CERT", ""),
    }
    return [f"id={name},src={path}" for name, path in found.items() if Path(path).is_file()]


def _works(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise BuildError(f"{' '.join(command[:2])} failed ({done.returncode}):\n{last}")


def main() -> int:
    """Build what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("target", nargs="*", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--tag", default="dev")
    parser.add_argument("--prefix", default="localhost/cardan-", help="of the names")
    parser.add_argument("--base", default="", metavar="IMAGE", help="another base image")
    parser.add_argument("--archive", type=Path, metavar="FOLDER", help="also write TARGET.tar")
    args = parser.parse_args()
    try:
        tool = find_tool()
        for target in args.target or TARGETS:
            name = f"{args.prefix}{target}:{args.tag}"
            build(target, name, base=args.base, tool=tool)
            sys.stdout.write(f"{name}\n")
            if args.archive:
                archive(name, args.archive / f"{target}.tar", tool=tool)
    except BuildError as error:
        sys.stderr.write(f"build_images: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
