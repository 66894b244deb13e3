"""Calls of `Inference` as tests make them: read to the end, piece by piece, or failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cardan_router.pb.cardan.v1 import inference_pb2
from grpc import aio

from tests.router.grpc.door import Failed, failure

if TYPE_CHECKING:
    from collections.abc import Awaitable

Stream = aio.UnaryStreamCall[inference_pb2.GenerateRequest, inference_pb2.GenerateResponse]


async def read(call: Stream) -> list[inference_pb2.GenerateResponse]:
    return [response async for response in call]


async def piece_of(call: Stream) -> inference_pb2.GenerateResponse:
    piece = await call.read()
    assert isinstance(piece, inference_pb2.GenerateResponse)
    return piece


async def failed(call: Awaitable[object]) -> Failed:
    with pytest.raises(aio.AioRpcError) as raised:
        await call
    return failure(raised.value)


def text_of(responses: list[inference_pb2.GenerateResponse]) -> str:
    return "".join(choice.text for response in responses for choice in response.choices)
