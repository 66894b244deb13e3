"""Tests without what they need: skipped with one line that says what to do.

With CARDAN_REQUIRE_CLUSTER=1, as CI has it, they fail instead: a skip nobody reads proves nothing.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NoReturn

import pytest

from e2e.cluster import given
from e2e.cluster.errors import UnavailableError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator


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
