"""A kind cluster for those who have Docker. Only its creation is here: the tests are the same.

Its kubeconfig is a file of its own in the cache; the user's is not touched. kind, not this package,
remembers which clusters there are.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from e2e.cluster import commands
from e2e.cluster.errors import CommandError, UnavailableError
from e2e.cluster.paths import cache_root

NAME = "cardan"
CONFIG = Path(__file__).with_name("config.yaml")
# kind pulls a node image of 1 GB the first time.
CREATE_TIMEOUT_S = 900.0


def missing() -> str:
    """The one of both tools that is not here, or does not work; "" if all is well."""
    for tool in ("kind", "docker"):
        if not shutil.which(tool):
            return tool
    try:
        commands.output(["docker", "info"], timeout_s=30)
    except CommandError:
        return "a docker that answers"
    return ""


def works() -> bool:
    """Whether a kind cluster can be had here."""
    return not missing()


def exists() -> bool:
    """Whether the cluster is there."""
    return NAME in commands.output(["kind", "get", "clusters"]).split()


def create() -> Path:
    """Create the cluster if it is not there, whole or not at all; its kubeconfig.

    Raises:
        UnavailableError: kind or Docker is missing.
    """
    if lacking := missing():
        raise UnavailableError(f"a kind cluster needs {lacking}; `make cluster` needs neither")
    kubeconfig = _kubeconfig()
    kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    where = ["--name", NAME, "--kubeconfig", str(kubeconfig)]
    if exists():
        commands.output(["kind", "export", "kubeconfig", *where])
        return kubeconfig
    how = ["--config", str(CONFIG), "--wait", "120s"]
    try:
        commands.output(["kind", "create", "cluster", *where, *how], timeout_s=CREATE_TIMEOUT_S)
    except BaseException:  # Ctrl-C too: half a cluster would later be one that was there before
        delete()
        raise
    return kubeconfig


def delete() -> None:
    """Delete the cluster, if it is there.

    Raises:
        UnavailableError: kind or Docker is missing, and with it every cluster of theirs.
    """
    if lacking := missing():
        raise UnavailableError(f"deleting a kind cluster needs {lacking}")
    kubeconfig = _kubeconfig()
    argv = ["kind", "delete", "cluster", "--name", NAME, "--kubeconfig", str(kubeconfig)]
    commands.output(argv)
    kubeconfig.unlink(missing_ok=True)


def _kubeconfig() -> Path:
    return cache_root() / "kind.kubeconfig"
