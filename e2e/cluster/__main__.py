"""Clusters for a person: `python -m e2e.cluster build | up [NAME] [--api] | down [NAME] | list`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from e2e.cluster import build, find, held, up
from e2e.cluster.errors import status_of
from e2e.cluster.paths import ROOT, runs
from e2e.cluster.progress import say

if TYPE_CHECKING:
    from e2e.cluster.local import LocalCluster

NAME = "cardan"


def main() -> int:
    """Do one of it; 1 and a sentence where it failed, 3 where this machine lacks what it takes."""
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster", description=__doc__)
    parser.add_argument("do", choices=["build", "up", "down", "list"])
    parser.add_argument("name", nargs="?", default=os.environ.get("CARDAN_CLUSTER_NAME", NAME))
    parser.add_argument("--api", action="store_true", help="an API server without a node")
    options = parser.parse_args()
    do = {"build": _build, "up": _up, "down": _down, "list": _list}[options.do]
    return status_of(lambda: do(options))


def _build(_options: argparse.Namespace) -> None:
    began = time.monotonic()
    say(f"{build.build()}: complete after {time.monotonic() - began:.0f} s")


def _up(options: argparse.Namespace) -> None:
    began = time.monotonic()
    name = f"{options.name}-api" if options.api else options.name
    cluster = up.take(name, full=not options.api)
    cluster.keep()
    say(f"cluster {name} is up after {time.monotonic() - began:.1f} s")
    print(_how_to_use(cluster))
    cluster.let_go()


def _how_to_use(cluster: LocalCluster) -> str:
    tools = f"{find.tool('kubectl').parent}:{ROOT}/.venv/bin"
    lines = [
        f"export KUBECONFIG={cluster.kubeconfig}",
        f"export PATH={tools}:$PATH   # kubectl, helm, cardan",
        "kubectl get pods -A",
    ]
    if cluster.full:
        inside = " ".join(cluster.inside(["curl", "http://SERVICE-IP"]))
        lines.append(f"{inside}   # where pods and Services are")
        if cluster.name == NAME:
            lines.append("make cluster-images   # before you install the chart from this checkout")
    down = f"{sys.executable} -m e2e.cluster down {cluster.name}"
    lines.append("make cluster-down" if cluster.name == NAME else down)
    return "\n".join(lines)


def _down(options: argparse.Namespace) -> None:
    held.check_name(options.name)
    names = [name for name in (options.name, f"{options.name}-api") if held.found(name)]
    for name in names:
        if line := held.connect(runs() / name):
            line.ask("set", what="ended")
            line.let_go()
            held.await_end(name)
            say(f"cluster {name} is gone")
    if not names:
        say(f"there is no cluster {options.name}")
    held.sweep()


def _list(_options: argparse.Namespace) -> None:
    held.sweep()
    for folder in sorted(path for path in runs().iterdir() if path.is_dir()):
        print(folder.name)


if __name__ == "__main__":
    sys.exit(main())
