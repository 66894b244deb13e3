"""Fixtures for tests with real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.processes import Processes, processes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def procs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Processes of one test."""
    with processes(tmp_path_factory.mktemp("procs")) as group:
        yield group


@pytest.fixture(scope="module")
def module_procs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Processes that a module's tests share, because starting them costs seconds."""
    with processes(tmp_path_factory.mktemp("procs")) as group:
        yield group
