"""A Lease that cannot be read ends nobody: it is looked at again."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import TYPE_CHECKING

import pytest
from cardan.instants import Monotonic, WallTime
from cardan_controller.election import Election, LeaseConfig
from cardan_controller.leading import Leader

from tests.fakes.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cardan_kube.api import Request

QUICK = LeaseConfig(namespace="n", duration_s=6.0, renew_deadline_s=4.0, retry_s=0.001)
FREE = {"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": ""}}


class FakeApi:
    """Answers a question with `page`, and a write with what was written."""

    def __init__(self, page: bytes) -> None:
        self.page = page
        self.asked = 0

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """See `Api`."""
        assert path.endswith("/cardan-controller")
        assert not query
        self.asked += 1
        return self.page

    async def send(self, request: Request) -> bytes:
        """See `Api`."""
        return json.dumps(request.body).encode()


@pytest.mark.parametrize(
    "page",
    [
        b"<html>",
        b'{"spec": {"leaseDurationSeconds": "soon"}}',
    ],
)
async def test_a_lease_that_cannot_be_read_is_looked_at_again(
    page: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    api = FakeApi(page)
    leader = Leader(
        Election("me", QUICK, Random(1)),
        api,
        QUICK,
        "http://me.test",
        monotonic=lambda: Monotonic(asyncio.get_running_loop().time()),
        wall=lambda: WallTime(1_800_000_000.0),
    )
    task = asyncio.create_task(leader.run())
    await until(lambda: api.asked >= 3, "it to look again")
    assert not leader.leads()
    assert "cannot be read" in caplog.text
    api.page = json.dumps(FREE).encode()
    await until(leader.leads, "it to lead")
    task.cancel()
    await asyncio.wait([task])
