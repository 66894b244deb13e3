"""Build everything a cluster is started from, into the cache: `python -m e2e.cluster build`.

Kubernetes publishes its parts as Go modules and as images. Images need a registry; modules need Go
and come from its proxy. About 11 minutes on two cores from nothing, 730 MB; then a no-op.

Each artefact is made under another name, asked for its version, and only then given its own: what
lies in the cache under its name is whole. A build that was interrupted goes on where it was. One
lock covers it all, so that two sessions build once. No `go.mod` is written outside the cache.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import commands, find, golang, images
from e2e.cluster.errors import ClusterError, UnavailableError
from e2e.cluster.paths import cache, locked
from e2e.cluster.progress import say
from e2e.cluster.versions import COREDNS, ETCD, HELM, KUBERNETES, PROMETHEUS

# A dozen packages over a slow line.
APT_TIMEOUT_S = 900.0
STAMP = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Tool:
    """A program of one Go module."""

    name: str
    module: str
    version: str
    package: str
    asks: tuple[str, ...]  # how it tells its version
    stamps: tuple[str, ...] = ()  # `-X` of the linker: modules do not know their own tag
    tags: str = ""  # of `go build`
    release: str = ""  # the module's version, where it is another than the program's

    @property
    def flags(self) -> list[str]:
        """Flags of `go build`: small, reproducible, stamped."""
        stamps = "".join(f" -X {stamp}" for stamp in self.stamps)
        return ["-trimpath", "-tags", self.tags, "-ldflags", f"-s -w{stamps}"]


def _kubernetes(name: str, *asks: str) -> Tool:
    major, minor, _ = KUBERNETES.split(".")
    stamps = (
        # Without them the server calls itself v0.0.0 and charts refuse it by their kubeVersion.
        f"{STAMP}.gitVersion=v{KUBERNETES}",
        f"{STAMP}.gitMajor={major}",
        f"{STAMP}.gitMinor={minor}",
    )
    package = f"k8s.io/kubernetes/cmd/{name}"
    return Tool(name, "k8s.io/kubernetes", KUBERNETES, package, asks or ("--version",), stamps)


# The API server first: all compiling that they share is in it, and API-only tests can start.
TOOLS = (
    _kubernetes("kube-apiserver"),
    Tool("etcd", "go.etcd.io/etcd/server/v3", ETCD, "go.etcd.io/etcd/server/v3", ("--version",)),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kubectl", "version", "--client"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    Tool(
        "coredns",
        "github.com/coredns/coredns",
        COREDNS,
        "github.com/coredns/coredns",
        ("-version",),
    ),
    Tool(
        "helm",
        "helm.sh/helm/v4",
        HELM,
        "helm.sh/helm/v4/cmd/helm",
        ("version", "--short"),
        (f"helm.sh/helm/v4/internal/version.version=v{HELM}",),
    ),
    # Debian's cannot find pods: it is built without the clients of clouds, and of Kubernetes. Ours
    # has that of Kubernetes alone.
    Tool(
        "prometheus",
        "github.com/prometheus/prometheus",
        PROMETHEUS,
        "github.com/prometheus/prometheus/cmd/prometheus",
        ("--version",),
        (f"github.com/prometheus/common/version.Version={PROMETHEUS}",),
        # The last two make it static: it runs in an image, whose libc is another.
        tags="remove_all_sd,enable_kubernetes_sd,netgo,osusergo",
        release=f"0.3{PROMETHEUS.split('.')[1]}.{PROMETHEUS.split('.')[2]}",
    ),
)


def build() -> Path:
    """Build what is missing; the folder of the binaries.

    Raises:
        UnavailableError: not root, or packages are missing.
        ClusterError: something did not build.
    """
    check()
    with locked(cache() / ".lock", doing="builds the same cluster"):
        _tools()
        images.build()
    return cache() / "bin"


def check() -> None:
    """Look whether this machine can build at all; install Debian's packages that are missing.

    Raises:
        UnavailableError: says what to do.
    """
    if os.geteuid():
        raise UnavailableError("building a cluster needs root (debootstrap, buildah)")
    absent = {package for name, package in PACKAGES.items() if not shutil.which(name)}
    lacking = sorted(absent | set(find.missing_packages()))
    if not lacking:
        return
    if not shutil.which("apt-get"):
        raise UnavailableError(f"building a cluster needs what Debian calls {' '.join(lacking)}")
    say(f"apt-get install {' '.join(lacking)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    commands.output(["apt-get", "update", "-qq"], timeout_s=APT_TIMEOUT_S, env=quiet)
    install = ["apt-get", "install", "-yqq", "--no-install-recommends", *lacking]
    commands.output(install, timeout_s=APT_TIMEOUT_S, env=quiet)


# Command → Debian package, beside what a node needs to run.
PACKAGES = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "gcc": "gcc",
    "openssl": "openssl",
    "nsenter": "util-linux",
}


def verified(tool: Tool) -> bool:
    """Whether the cache holds this tool in this version: asked once, then known by its date."""
    path = cache() / "bin" / tool.name
    if not path.exists():
        return False
    known = _seen()
    if known.get(tool.name) != _print(path, tool):
        if tool.version not in _version(tool, path):
            return False
        _remember(tool.name, _print(path, tool))
    return True


def _tools() -> None:
    missing = [tool for tool in TOOLS if not verified(tool)]
    if not missing:
        return
    go = golang.go()
    try:
        for number, tool in enumerate(missing, 1):
            say(f"{tool.name} {tool.version}, {number} of {len(missing)} ...")
            began = time.monotonic()
            _build(go, tool)
            say(f"{tool.name} {tool.version}: {time.monotonic() - began:.0f} s")
    finally:
        go.tidy(finished=all(map(verified, TOOLS)))


def _build(go: golang.Go, tool: Tool) -> None:
    source = cache() / "src" / tool.name
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    replaced = _staging(go) if tool.module == "k8s.io/kubernetes" else ""
    (source / "go.mod").write_text(
        f"module build\n\ngo {golang.LANGUAGE}\ngodebug default=go{golang.LANGUAGE_SHORT}\n"
        f"require {tool.module} v{tool.release or tool.version}\n{replaced}"
    )
    made = cache() / "bin" / f".{tool.name}"
    made.parent.mkdir(exist_ok=True)
    go.run("build", "-mod=mod", *tool.flags, "-o", str(made), tool.package, cwd=source)
    told = _version(tool, made)
    if tool.version not in told:
        raise ClusterError(f"{tool.name} says {told!r}, not {tool.version}")
    made.rename(cache() / "bin" / tool.name)
    _remember(tool.name, _print(cache() / "bin" / tool.name, tool))
    shutil.rmtree(source)


def _staging(go: golang.Go) -> str:
    """`replace` lines for the modules that Kubernetes names by folders it does not publish.

    They are published as modules of their own, v0.36.3 for Kubernetes 1.36.3.
    """
    told = json.loads(go.run("mod", "download", "-json", f"k8s.io/kubernetes@v{KUBERNETES}"))
    upstream = Path(told["GoMod"]).read_text()
    lines = re.findall(r"^(?:replace )?\s*(k8s\.io/[a-z-]+) => \./staging/", upstream, re.MULTILINE)
    version = f"v0.{KUBERNETES.partition('.')[2]}"
    return "".join(f"replace {name} => {name} {version}\n" for name in lines)


def _version(tool: Tool, path: Path) -> str:
    done = subprocess.run([path, *tool.asks], capture_output=True, text=True)
    return done.stdout + done.stderr


def _print(path: Path, tool: Tool) -> list[object]:
    stat = path.stat()
    return [tool.version, stat.st_size, stat.st_mtime_ns]


def _seen() -> dict[str, object]:
    file = cache() / "verified.json"
    try:
        seen: dict[str, object] = json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return seen


def _remember(name: str, fingerprint: list[object]) -> None:
    file = cache() / "verified.json"
    new = file.with_suffix(".new")
    new.write_text(json.dumps(_seen() | {name: fingerprint}, indent=1))
    new.rename(file)
