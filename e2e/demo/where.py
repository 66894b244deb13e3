"""Where the demo runs: a cluster that is there for it alone, and gone after it unless it is kept.

Docker that answers and kind: a kind cluster. Elsewhere one node of our own, on Linux as root. And
`CARDAN_KUBECONFIG` gives it a cluster to throw away, as it does the end-to-end tests.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e import kind
from e2e.cluster import build, find, given, held, up
from e2e.cluster.errors import UnavailableError
from e2e.cluster.paths import cache_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster.interface import Cluster

OWN_NAME: Final = "demo"


@dataclass(frozen=True)
class Where:
    """A cluster, and what a person must know of it."""

    cluster: Cluster
    about: str
    removal: str  # the command that removes it, "" where it is not ours to remove
    stays: bool = False  # it was there before


def choose() -> str:
    """The kind of cluster that this machine gets: `given`, `kind` or `own`."""
    if given.asked_for():
        return "given"
    return "kind" if kind.works() else "own"


@contextmanager
def cluster(which: str, *, keep: bool) -> Iterator[Where]:
    """The cluster of a kind, as long as the block lasts; `keep`: and longer, if it ends well.

    Raises:
        UnavailableError: not on this machine, or another demo has it.
    """
    with _alone(), {"given": _given, "kind": _kind, "own": _own}[which](keep=keep) as found:
        yield found


@contextmanager
def _alone() -> Iterator[None]:
    """One demo at a time: two on one cluster would replace each other's release."""
    path = cache_root() / "demo.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnavailableError("another demo is running on this machine") from None
        yield


def before(which: str) -> str:
    """What is to be said before minutes of silence; "" where there are none to come."""
    if which == "kind" and kind.works() and not kind.exists():
        return "kind fetches its node image first, if it is not there: a gigabyte, once."
    if which == "own" and not os.geteuid() and not _built():
        return "Built for this machine first, from source: ten minutes or more, once."
    return ""


def _built() -> bool:
    try:
        find.full_binaries()
    except UnavailableError:
        return False
    return True


@contextmanager
def _given(*, keep: bool) -> Iterator[Where]:
    kubeconfig = given.asked_for()
    assert kubeconfig is not None
    with given.given(kubeconfig) as found:
        yield Where(found, f"the one that {given.VARIABLE} names, {found.name}", "", stays=True)


@contextmanager
def _own(*, keep: bool) -> Iterator[Where]:
    if os.geteuid():
        raise UnavailableError("the demo needs kind and a Docker that answers, or Linux and root")
    if not _built():
        build.build()
    stays = held.found(OWN_NAME)
    found = up.take(OWN_NAME, full=True)
    removal = f".venv/bin/python -m e2e.cluster down {OWN_NAME}"
    try:
        yield Where(found, "one node, in namespaces of this machine", removal, stays)
        if keep:
            found.keep()
    finally:
        up.leave(found)


@contextmanager
def _kind(*, keep: bool) -> Iterator[Where]:
    works = kind.works()
    stays = works and kind.exists()
    kept = stays or not works  # nothing to delete, and nothing to delete it with
    try:
        kubeconfig = kind.create()
        os.environ[given.VARIABLE] = str(kubeconfig)  # images are then what a user would build
        with given.given(kubeconfig) as found:
            removal = "make kind-down"
            yield Where(found, f"{found.name}, one node in Docker", removal, stays)
        kept = stays or keep
    finally:
        os.environ.pop(given.VARIABLE, None)
        if not kept:
            kind.delete()


def environment(where: Where) -> list[str]:
    """What to type in another terminal before commands like ours."""
    lines = [f"export KUBECONFIG={where.cluster.kubeconfig}"]
    folder = find.tool("kubectl").parent
    if str(folder) not in os.environ.get("PATH", "").split(os.pathsep):
        lines.append(f"export PATH={folder}:{Path.cwd()}/.venv/bin:$PATH   # kubectl, helm, cardan")
    return lines
