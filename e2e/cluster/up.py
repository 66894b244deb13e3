"""Have a cluster: the given one, the running one of that name, or a new one.

    with up.api() as cluster: ...      # etcd, API server, controllers: 3 s
    with up.full() as cluster: ...     # and a node that runs pods: 10 s

In tests take the fixtures `api` and `cluster` (e2e/conftest.py) instead.
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from e2e.cluster import find, held, starting
from e2e.cluster.errors import ClusterError
from e2e.cluster.layout import Layout
from e2e.cluster.local import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

# Waiting for another process that is starting the same cluster.
OTHERS_DEADLINE_S = 180.0


def session_name() -> str:
    """The cluster's name in this test session: asked for, or random and the same in each worker."""
    asked = os.environ.get("CARDAN_CLUSTER_NAME", "")
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")  # the workers of one session share it
    return asked or f"t{run[:8] or secrets.token_hex(4)}"


@contextmanager
def api(name: str = "") -> Iterator[LocalCluster]:
    """Hold an API-only cluster of this name, started if need be.

    Raises:
        UnavailableError: no binaries.
    """
    yield from _taken(f"{name or session_name()}-api", full=False)


@contextmanager
def full(name: str = "") -> Iterator[LocalCluster]:
    """Hold a whole cluster of this name, started if need be.

    Raises:
        UnavailableError: no root, no binaries, or the kernel lacks something.
    """
    yield from _taken(name or session_name(), full=True)


def _taken(name: str, *, full: bool) -> Iterator[LocalCluster]:
    cluster = take(name, full=full)
    try:
        yield cluster
    finally:
        leave(cluster)


def take(name: str, *, full: bool) -> LocalCluster:
    """Hold the cluster of exactly this name, started if need be. `leave` it in the end."""
    binaries = find.full_binaries() if full else find.api_binaries()
    line, new = held.hold(name)
    try:
        if not new:
            held.await_ready(line, OTHERS_DEADLINE_S)
            return LocalCluster(line, Layout.read(line.folder))
        cluster = LocalCluster(line, Layout.make(line.folder, binaries, full=full))
        starting.fill(line, cluster)
        return cluster
    except BaseException:  # Ctrl-C too: an unfinished cluster ends with its starter's line
        line.let_go()
        raise


def leave(cluster: LocalCluster) -> None:
    """Let go of a cluster; if that ends it, wait until nothing of it is left.

    One whose line was cut, by Ctrl-C in a question or by the keeper's own end, is let go already.
    """
    try:
        alone = cluster.alone()
    except ClusterError:
        alone = False
    finally:
        cluster.let_go()
    if alone:
        held.await_end(cluster.name)
