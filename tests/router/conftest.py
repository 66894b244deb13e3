"""Engines that a module shares, and processes that end with their test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.router.asking import MODEL
from tests.system.processes import Child, Processes, processes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Child]]:
    """Two simulated engines for the whole module."""
    with processes(tmp_path_factory.mktemp("engines")) as group:
        yield group.engines(2, "--model", MODEL, "--time-scale", "0.2")


@pytest.fixture(scope="module")
def engines(children: list[Child]) -> list[str]:
    """Their URLs."""
    return [child.url for child in children]


@pytest.fixture
def procs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Processes of one test."""
    with processes(tmp_path_factory.mktemp("procs")) as group:
        yield group
