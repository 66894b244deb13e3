"""KEDA's contract, by a client of KEDA's proto over a real connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import grpc
import pytest
from cardan_controller.keda import METRIC, ExternalScaler, Pool, Recommendations
from cardan_controller.pb.keda import externalscaler_pb2 as pb
from cardan_controller.pb.keda import externalscaler_pb2_grpc as pb_grpc

from tests.fakes.waiting import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

POOL = Pool("serving", "llama", "h100")


class Scaler(NamedTuple):
    """A client, and what the server recommends."""

    stub: pb_grpc.ExternalScalerAsyncStub
    recommendations: Recommendations


@pytest.fixture
async def scaler() -> AsyncIterator[Scaler]:
    """A server on a port of the kernel's choice."""
    recommendations = Recommendations()
    server = grpc.aio.server()
    pb_grpc.add_ExternalScalerServicer_to_server(ExternalScaler(recommendations), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: pb_grpc.ExternalScalerAsyncStub = pb_grpc.ExternalScalerStub(channel)
        yield Scaler(stub, recommendations)
    await server.stop(None)


def ref(**metadata: str) -> pb.ScaledObjectRef:
    """A ScaledObject with this in its trigger's metadata."""
    return pb.ScaledObjectRef(name="object", namespace="serving", scalerMetadata=metadata)


async def refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """How a call was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_the_metric_asks_for_as_many_replicas_as_were_decided(scaler: Scaler) -> None:
    scaler.recommendations.set({POOL: 7})
    spec = await scaler.stub.GetMetricSpec(ref(fleet="llama"))
    assert [(one.metricName, one.targetSizeFloat) for one in spec.metricSpecs] == [(METRIC, 1.0)]
    request = pb.GetMetricsRequest(scaledObjectRef=ref(fleet="llama", pool="h100"))
    metrics = await scaler.stub.GetMetrics(request)
    assert [(one.metricName, one.metricValueFloat) for one in metrics.metricValues] == [(METRIC, 7)]


@pytest.mark.parametrize(("desired", "active"), [(0, False), (1, True)])
async def test_a_fleet_at_zero_is_not_active(scaler: Scaler, desired: int, active: bool) -> None:
    scaler.recommendations.set({POOL: desired})
    assert (await scaler.stub.IsActive(ref(fleet="llama"))).result is active


async def test_waking_is_pushed(scaler: Scaler) -> None:
    scaler.recommendations.set({POOL: 0})
    stream = scaler.stub.StreamIsActive(ref(fleet="llama"))
    answers = aiter(stream)
    assert (await anext(answers)).result is False
    scaler.recommendations.set({POOL: 1})
    assert (await soon(anext(answers))).result is True
    stream.cancel()


async def test_before_a_decision_the_answer_is_unavailable_and_not_zero(scaler: Scaler) -> None:
    code, words = await refusal(scaler.stub.IsActive(ref(fleet="llama", pool="h100")))
    assert (code, words) == (
        grpc.StatusCode.UNAVAILABLE,
        "nothing is decided for serving/llama h100",
    )


async def test_metadata_that_names_no_pool_is_refused(scaler: Scaler) -> None:
    scaler.recommendations.set({POOL: 1, POOL._replace(pool="a100"): 2})
    code, words = await refusal(scaler.stub.IsActive(ref()))
    assert (code, words) == (grpc.StatusCode.INVALID_ARGUMENT, "metadata lacks `fleet`")
    code, words = await refusal(scaler.stub.IsActive(ref(fleet="llama")))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert words == "fleet 'llama' has several pools: set `pool` to one of a100, h100"
