"""Worlds of `world`, on the API server that all tests share or on one of a module's own."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

import pytest

from e2e.controller.pages import Page, served
from e2e.controller.world import World
from e2e.definitions import with_definitions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.cluster.interface import Cluster


@pytest.fixture(scope="session")
def installed(api: Cluster) -> Cluster:
    """The definitions are there, and in use."""
    return with_definitions(api)


@pytest.fixture(scope="module")
def own_installed(private_api: Cluster) -> Cluster:
    """The same on a server that a module may stop."""
    return with_definitions(private_api)


@pytest.fixture
def world(installed: Cluster, tmp_path: Path) -> Iterator[World]:
    """A namespace of a test's own, with a gateway."""
    with a_world(installed, tmp_path) as made:
        yield made


@pytest.fixture
def own_world(own_installed: Cluster, tmp_path: Path) -> Iterator[World]:
    """The same on a server that a module may stop."""
    with a_world(own_installed, tmp_path) as made:
        yield made


@contextlib.contextmanager
def a_world(api: Cluster, folder: Path) -> Iterator[World]:
    """A namespace with a gateway, and somebody who plays kubelet."""
    namespace = f"operator-{secrets.token_hex(3)}"
    api.kubectl("create", "namespace", namespace)
    page = Page()
    with served(lambda _: page.text()) as port:
        world = World(api, namespace, folder, page, port)
        world.gateway()
        world.start()
        try:
            yield world
        finally:
            world.stop()
    api.kubectl("delete", "namespace", namespace, "--wait=false")
