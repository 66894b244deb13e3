"""The clusters that end-to-end tests share: `api` and `cluster`, one of each for a whole session.

Where one is missing the tests that want it are skipped, with one line that says what to do, or
fail (`e2e.missing`).

`make e2e-cluster` and `make e2e-operator` run two workers (`-n 2`). Tests on the whole cluster
follow one another in one of them, for they share its node: mostly they wait for pods. The others
run beside them, on an API server on which nothing runs; they too follow one another, for they share
it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

import tests.conftest  # noqa: F401 - programs take signals, however the tests were started
from e2e.cluster import given, up
from e2e.images import CLIENT, load
from e2e.missing import excused
from tools.build_images import TARGETS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from e2e.cluster.interface import Cluster

# The first test of a session pays for the cluster: 3 to 15 s alone, a minute on a busy machine.
TIMEOUT_S = 180.0
WHOLE = {"cluster", "beside"}  # fixtures that have a node
# `make e2e-operator` runs these; they take as long as all the others.
OF_OPERATOR = ("e2e/controller/", "e2e/deploy/test_operator.py")
ON_NODE = (
    *("e2e/chart/test_images.py", "e2e/chart/test_install.py", "e2e/cluster/test_full.py"),
    *("e2e/deploy/", "e2e/monitoring/"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on a cluster wait for pods: they get more time than a unit test."""
    for item in items:
        if WHOLE & set(getattr(item, "fixturenames", ())) and not is_on_node(item.nodeid):
            raise pytest.UsageError(f"{item.nodeid} uses the node: its file belongs in ON_NODE")
        if item.nodeid.startswith(OF_OPERATOR):
            item.add_marker(pytest.mark.operator)
        if item.get_closest_marker("cluster") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


def is_on_node(nodeid: str) -> bool:
    """Whether a test shares the whole cluster with others."""
    return nodeid.startswith(ON_NODE)


class Beside(LoadScopeScheduling):  # type: ignore[misc]  # its package is not typed
    """What is on the node to one worker, the others to another.

    A scheduler of our own, for the one that knows tests has their names alone, and pytest-xdist's
    (`loadgroup`) writes groups into names, where pytest 9.2 does not read them.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "node" if is_on_node(nodeid) else "others"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Beside:
    """See `Beside`."""
    return Beside(config, log)


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


@pytest.fixture(scope="session")
def tag(cluster: Cluster) -> str:
    """The tag of this checkout's images on the node, `images.next_tag` and the client's too."""
    return load(cluster, *TARGETS, CLIENT)


@pytest.fixture(scope="module")
def private_api() -> Iterator[Cluster]:
    """An API server for the tests of one module: to be stopped, frozen and compacted at will.

    `api` is shared by everybody, with pytest-xdist at the same time: nobody may take it away.
    """
    with up.api(f"p{secrets.token_hex(4)}") as held:
        yield held
