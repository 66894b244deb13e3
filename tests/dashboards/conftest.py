"""Finds Prometheus: Debian's package, or whatever is on the path."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

REQUIRE = ("CARDAN_REQUIRE_PROMETHEUS", "CARDAN_REQUIRE_CLUSTER")


def program(name: str) -> Path:
    """A program of Prometheus; skips the test where there is none, fails it where CI says so."""
    found = shutil.which(name)
    if found is None:
        missing = f"{name} is missing: apt-get install --no-install-recommends prometheus"
        if any(os.environ.get(variable) for variable in REQUIRE):
            pytest.fail(missing)
        pytest.skip(missing)
    return Path(found)


@pytest.fixture(scope="session")
def promtool() -> Path:
    """The rule checker."""
    return program("promtool")


@pytest.fixture(scope="session")
def prometheus() -> Path:
    """The server."""
    return program("prometheus")
