"""The clusters that end-to-end tests share: `api` and `cluster`, one of each for a whole session.

Where one is missing the tests that want it are skipped, with one line that says what to do. With
CARDAN_REQUIRE_CLUSTER=1, as CI has it, they fail instead: a skip nobody reads proves nothing.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING, NoReturn

import pytest

from e2e.cluster import given, up
from e2e.cluster.errors import UnavailableError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from e2e.cluster.interface import Cluster

# The first test of a session pays for the cluster: 3 to 15 s alone, a minute on a busy machine.
TIMEOUT_S = 180.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on a cluster wait for pods: they get more time than a unit test.

    With pytest-xdist (`--dist loadgroup`) those on the whole cluster follow one another in one
    worker, for they change the same node, and all others run beside them.
    """
    for item in items:
        on_node = "cluster" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("node" if on_node else "others"))
        if item.get_closest_marker("cluster") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """What is missing, or what a given cluster cannot do, is no failure of who asked for it."""
    with excused():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    """The same for the fixtures of a test."""
    with excused():
        return (yield)


@contextlib.contextmanager
def excused() -> Iterator[None]:
    """Skip where a cluster is missing (or fail), or where a given one cannot do it."""
    try:
        yield
    except UnsupportedError as unsupported:
        if not given.asked_for():  # ours can do everything: what it cannot do is broken
            raise
        pytest.skip(str(unsupported))
    except UnavailableError as missing:
        give_up(str(missing))


def give_up(reason: str) -> NoReturn:
    """Skip, or fail where a cluster is required."""
    if os.environ.get("CARDAN_REQUIRE_CLUSTER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def api() -> Iterator[Cluster]:
    """An API server with its controllers on the loopback; nothing runs, nothing needs root."""
    with up.api() as held:
        yield held


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A whole cluster on which pods run: the given one, or one node of our own."""
    kubeconfig = given.asked_for()
    with given.given(kubeconfig) if kubeconfig else up.full() as held:
        yield held


@pytest.fixture(scope="module")
def private_api() -> Iterator[Cluster]:
    """An API server for the tests of one module: to be stopped, frozen and compacted at will.

    `api` is shared by everybody, with pytest-xdist at the same time: nobody may take it away.
    """
    with up.api(f"p{secrets.token_hex(4)}") as held:
        yield held
