"""A fake API server for each test that asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.kube import FakeKube, fake_kube

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def kube() -> AsyncIterator[FakeKube]:
    """An API server in this process."""
    async with fake_kube() as server:
        yield server
