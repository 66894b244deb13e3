"""A request's body is held as it came: once, and with nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.client import chat, connect, post
from tests.fakes.engine import HANG, engines
from tests.fakes.gateway import serving
from tests.fakes.waiting import until

if TYPE_CHECKING:
    from cardan_router.http.connection import HttpConnection

    from tests.fakes.gateway import Served


def connection_of(served: Served) -> HttpConnection:
    """The one client's."""
    (connection,) = served.server._connections
    return connection


@pytest.mark.parametrize(
    ("size", "behind", "is_view"), [(1_000, 0, False), (40_000, 0, True), (20_000, 60_000, False)]
)
async def test_a_body_keeps_no_more_than_twice_itself(
    size: int, behind: int, is_view: bool
) -> None:
    """A view keeps the whole read, with what was pipelined behind it."""
    async with (
        engines(1, lambda _: [HANG]) as fleet,
        serving(fleet) as served,
        connect(served.port),
    ):
        await until(lambda: served.server._connections, "the client")
        whole = post(chat("x" * size))
        connection_of(served).data_received(whole + b"G" * behind)
        (flight,) = served.gateway.flights
        body = flight.call.body
        kept = memoryview(body.obj).nbytes if isinstance(body, memoryview) else len(body)
        assert isinstance(body, memoryview) is is_view
        assert kept <= 2 * len(body)
        assert bytes(body) == whole.partition(b"\r\n\r\n")[2]
